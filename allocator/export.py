"""`python -m allocator.export`: write a result for PEFT, as a plain model, or anew."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from allocator.command_line.options import add_options
from allocator.command_line.parser import (
    add_budget_option,
    add_result_option,
    make_parser,
    parse_repository,
    run_command,
)
from allocator.config import default_model_cache
from allocator.files.result_files import find_result_folder
from allocator.files.study_folder import CONFIG_FILE
from allocator.tuning.plan.run_config import RunConfig

if TYPE_CHECKING:
    from allocator.trained.hub_repository import HubRepository


def build_parser() -> argparse.ArgumentParser:
    """Describe the command's options."""
    parser = make_parser("export", "Write a study's best allocation and adapter.")
    add_result_option(parser)
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
        "folder, with the budget if one is given; none with --push)",
    )
    parser.add_argument(
        "--push",
        type=parse_repository,
        metavar="ID",
        help="also send the adapter (with --format the LoRA or the model), a model card and "
        "best.yaml to this repository on the Hugging Face hub, which is created if it does not "
        "exist; log in first: hf auth login",
    )
    parser.add_argument(
        "--private", action="store_true", help="with --push: only you see a new repository"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write the study's own result files again, or export its best adapter for other tools."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.private and arguments.push is None:
        parser.error("--private goes with --push ID")
    is_yaml = arguments.format == "yaml"
    if is_yaml and arguments.output is not None:
        parser.error("--output goes with --format peft or merged; yaml is the study's own")
    if is_yaml and arguments.budget is not None and arguments.push is None:
        parser.error("--budget goes with --format peft or merged, or with --push")
    folder = find_result_folder(arguments.study, arguments.studies_dir)
    is_study = (folder / CONFIG_FILE).exists()
    if is_yaml and not is_study and arguments.push is None:
        parser.error(f"{folder} has no trials to choose among; give --format peft or merged")
    repository = None
    if arguments.push is not None:
        from allocator.trained.hub_repository import find_repository

        repository = find_repository(arguments.push)
    if is_yaml:
        if is_study:
            _write_study_files(folder, arguments.storage)
        if repository is not None:
            _push_adapter(folder, arguments, repository)
    elif repository is not None and arguments.output is None:
        with tempfile.TemporaryDirectory() as made:
            _write_for_other_tools(folder, Path(made) / "export", arguments, repository)
    else:
        how, budget = arguments.format, arguments.budget
        output = arguments.output or folder / (how if budget is None else f"{how}-{budget}")
        _write_for_other_tools(folder, output, arguments, repository)
    return 0


def _push_adapter(folder: Path, arguments: argparse.Namespace, repository: HubRepository) -> None:
    from allocator.trained.push_export import push_adapter

    print(push_adapter(folder, repository, budget=arguments.budget, is_private=arguments.private))


def _write_study_files(folder: Path, storage: str | None) -> None:
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
        try:
            for path in write_report(study, front, study.compute_effects(), commands, warn=warn):
                print(path)
        except Exception as problem:  # noqa: BLE001  # a failed picture must not cost an export
            warn(f"not all was written: {type(problem).__name__}: {problem}")


def _write_for_other_tools(
    folder: Path, output: Path, arguments: argparse.Namespace, repository: HubRepository | None
) -> None:
    how: Literal["peft", "merged"] = arguments.format
    budget: int | None = arguments.budget
    from allocator.trained.export_folder import write_export
    from allocator.trained.trained_adapter import load_trained

    trained = load_trained(folder, default_model_cache(), budget)
    delivered = write_export(trained, how, output, None if repository is None else repository.id)
    if repository is None or arguments.output is not None:
        print(output)
    size = f"the adapter has {delivered.adapter_parameters:,} parameters"
    if how == "peft":
        size += f", as a LoRA {delivered.exported_parameters:,}"
    print(f"{size}; the head is not counted")
    if repository is not None:
        from allocator.trained.push_export import push_folder

        sent = push_folder(output, folder, repository, budget=budget, is_private=arguments.private)
        print(sent)


if __name__ == "__main__":
    sys.exit(run_command(main))
