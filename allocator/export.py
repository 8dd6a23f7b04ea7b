"""`python -m allocator.export`: write a study's best allocation and adapter, in several formats."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from allocator.command_line.options import add_options
from allocator.command_line.parser import add_budget_option, make_parser, run_command
from allocator.config import default_model_cache
from allocator.tuning.plan.run_config import RunConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Write the study's own result files again, or export its best adapter for other tools."""
    parser = make_parser("export", "Write a study's best allocation and adapter.")
    parser.add_argument("--study", required=True, metavar="NAME", help="name of the study")
    add_options(parser, RunConfig, ["studies_dir"])
    add_budget_option(parser)
    parser.add_argument("--storage", metavar="URL", help="URL of the storage that the search used")
    parser.add_argument(
        "--format",
        choices=("yaml", "peft", "merged"),
        default="yaml",
        help="yaml chooses again among the completed trials and writes the study's own files; peft "
        "writes the adapter as a standard LoRA, merged as part of a plain model",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="new or empty folder, for peft and merged (default: peft/ or merged/ in the study's "
        "folder, with the budget if one is given)",
    )
    arguments = parser.parse_args(argv)
    folder: Path = arguments.studies_dir / arguments.study
    if arguments.format == "yaml":
        for name in ("output", "budget"):
            if getattr(arguments, name) is not None:
                parser.error(f"--{name} goes with --format peft or merged; yaml is the study's own")
        _choose_best_again(folder, arguments.storage)
    else:
        _write_for_other_tools(folder, arguments)
    return 0


def _choose_best_again(folder: Path, storage: str | None) -> None:
    from allocator.tuning.report.study_report import write_report
    from allocator.tuning.storage.storage_url import choose_storage_url
    from allocator.tuning.study.next_commands import list_next_commands
    from allocator.tuning.study.open_study import load_study
    from allocator.tuning.study.write_front import write_front

    def warn(reason: str) -> None:
        print(f"report: {reason}", file=sys.stderr)

    with load_study(folder, storage) as study:
        front = write_front(study)
        print(front.best.path)
        url = choose_storage_url(storage, folder)
        commands = list_next_commands(study, front.best.path, url)
        for path in write_report(study, front, study.compute_effects(), commands, warn=warn):
            print(path)


def _write_for_other_tools(folder: Path, arguments: argparse.Namespace) -> None:
    how: Literal["peft", "merged"] = arguments.format
    budget: int | None = arguments.budget
    output = arguments.output or folder / (how if budget is None else f"{how}-{budget}")
    from allocator.trained.export_folder import write_export
    from allocator.trained.trained_adapter import load_trained

    delivered = write_export(load_trained(folder, default_model_cache(), budget), how, output)
    print(output)
    size = f"the adapter has {delivered.adapter_parameters:,} parameters"
    if how == "peft":
        size += f", as a LoRA {delivered.exported_parameters:,}"
    print(f"{size}; the head is not counted")


if __name__ == "__main__":
    sys.exit(run_command(main))
