"""`python -m allocator.predict`: classify or score inputs with a trained adapter."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from allocator.command_line.options import add_options
from allocator.command_line.parser import (
    add_budget_option,
    add_result_option,
    make_parser,
    run_command,
)
from allocator.config import default_model_cache
from allocator.files.result_files import find_result_folder
from allocator.tuning.plan.run_config import RunConfig

if TYPE_CHECKING:
    from allocator.trained.prediction_files import Row
    from allocator.trained.trained_adapter import TrainedAdapter


def main(argv: Sequence[str] | None = None) -> int:
    """Read lines or a table in UTF-8, and print a line of answers for each."""
    parser = make_parser(
        "predict",
        "Read texts or paths of images in UTF-8 from standard input, one per line (a TAB separates "
        "the two texts of a pair), and print for each its class and probability, or its score. "
        "With --input, read a table, and print it with these as further columns. Of two classes "
        "the second may be answered from another probability than 0.5, where the metric gains by "
        "it; best.yaml says from which (decision_threshold, of the logits).",
    )
    add_result_option(parser)
    parser.add_argument(
        "--input",
        type=Path,
        metavar="FILE",
        help="a table that has the columns of the task's texts (image for paths of images): .csv, "
        ".tsv or .jsonl",
    )
    add_options(parser, RunConfig, ["studies_dir"])
    add_budget_option(parser)
    arguments = parser.parse_args(argv)
    folder = find_result_folder(arguments.study, arguments.studies_dir)
    if arguments.input is not None and not arguments.input.is_file():
        parser.error(f"--input must be a file that exists, got {str(arguments.input)!r}")
    # Only now that the options are right: these import torch, which takes seconds.
    from allocator.trained.prediction_files import write_table
    from allocator.trained.trained_adapter import load_trained

    _use_utf8()
    trained = load_trained(folder, default_model_cache(), arguments.budget)
    try:
        if arguments.input is None:
            for answers in _answer_lines(trained):
                print("\t".join(answers))
        else:
            write_table(_answer_table(trained, arguments.input), arguments.input, sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads the answers, such as `head`, has enough of them
        # Or Python would complain about what it cannot flush as it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _answer_lines(trained: TrainedAdapter) -> Iterator[tuple[str, ...]]:
    from allocator.trained.prediction_files import read_lines
    from allocator.trained.predictions import predict

    columns = trained.recipe.task.text_columns
    for _, prediction in predict(trained, read_lines(sys.stdin, columns, origin="standard input")):
        yield prediction.as_fields()


def _answer_table(trained: TrainedAdapter, path: Path) -> Iterator[Row]:
    from allocator.trained.prediction_files import read_table
    from allocator.trained.predictions import predict

    for asked, prediction in predict(trained, read_table(path, trained.recipe.task.text_columns)):
        yield {**asked.row, **prediction.as_columns()}


def _use_utf8() -> None:
    """Read and write UTF-8 whatever the locale, as in data files and class names."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):  # notebooks and tests replace the streams
            stream.reconfigure(encoding="utf-8", errors="strict")


if __name__ == "__main__":
    sys.exit(run_command(main))
