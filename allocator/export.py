"""`python -m allocator.export`: write a study's best allocation and adapter again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from allocator.command import make_parser, run


def main(argv: Sequence[str] | None = None) -> int:
    """Choose again among the completed trials of a study, and write its files."""
    parser = make_parser("export", "Write a study's best allocation and adapter again.")
    parser.add_argument("--study", required=True, metavar="NAME", help="a study's name")
    parser.add_argument(
        "--studies-dir", type=Path, default=Path("studies"), metavar="FOLDER", help="of all studies"
    )
    parser.add_argument("--storage", metavar="URL", help="the storage that the search was given")
    arguments = parser.parse_args(argv)
    from allocator.tuning.export import export_best  # noqa: PLC0415
    from allocator.tuning.study_folder import load_study  # noqa: PLC0415

    with load_study(arguments.studies_dir / arguments.study, arguments.storage) as study:
        print(export_best(study).path)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
