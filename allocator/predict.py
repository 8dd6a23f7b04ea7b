"""`python -m allocator.predict`: answer texts, or images, with a study's best adapter."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from allocator.command import make_parser, run
from allocator.config import model_cache


def main(argv: Sequence[str] | None = None) -> int:
    """Read texts from standard input, and print a line of TAB-separated answers for each."""
    parser = make_parser(
        "predict",
        "Read one text a line from standard input (a TAB between the two of a pair), or the path "
        "of an image, and print its class and the class's probability, or its score.",
    )
    parser.add_argument("--study", required=True, metavar="NAME", help="a study's name")
    parser.add_argument(
        "--studies-dir", type=Path, default=Path("studies"), metavar="FOLDER", help="of all studies"
    )
    arguments = parser.parse_args(argv)
    from allocator.training.predict import predict  # noqa: PLC0415
    from allocator.training.trained import load_trained  # noqa: PLC0415

    trained = load_trained(arguments.studies_dir / arguments.study, model_cache())
    for answer in predict(trained, sys.stdin, origin="standard input"):
        print("\t".join(answer))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
