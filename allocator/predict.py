"""`python -m allocator.predict`: classify or score inputs with a study's best adapter."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from allocator.command_line.options import add_options
from allocator.command_line.parser import add_budget_option, make_parser, run_command
from allocator.config import default_model_cache
from allocator.files.study_folder import require_study
from allocator.tuning.plan.run_config import RunConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Read UTF-8 from standard input, and print a line of TAB-separated answers for each line."""
    parser = make_parser(
        "predict",
        "Read texts or paths of images in UTF-8 from standard input, one per line (a TAB separates "
        "the two texts of a pair), and print for each its class and probability, or its score.",
    )
    parser.add_argument("--study", required=True, metavar="NAME", help="name of the study")
    add_options(parser, RunConfig, ["studies_dir"])
    add_budget_option(parser)
    arguments = parser.parse_args(argv)
    folder = arguments.studies_dir / arguments.study
    require_study(folder)
    # Only now that the options are right: these import torch, which takes seconds.
    from allocator.trained.predictions import predict_lines
    from allocator.trained.trained_adapter import load_trained

    _use_utf8()
    trained = load_trained(folder, default_model_cache(), arguments.budget)
    try:
        for answer in predict_lines(trained, sys.stdin, origin="standard input"):
            print("\t".join(answer))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads the answers, such as `head`, has enough of them
        # Or Python would complain about what it cannot flush as it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _use_utf8() -> None:
    """Read and write UTF-8 whatever the locale, as in data files and class names."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):  # notebooks and tests replace the streams
            stream.reconfigure(encoding="utf-8", errors="strict")


if __name__ == "__main__":
    sys.exit(run_command(main))
