"""`python -m allocator <command>`."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from allocator.command_line.parser import Main, run_command
from allocator.errors import UnknownNameError

COMMANDS = ("search", "baseline", "sweep", "spaces", "train", "export", "predict", "fetch")
"""The names of the modules that hold a command each."""

HELP = """\
usage: allocator COMMAND [options]

Find the best adapter within a budget of trainable parameters. Begin with:

  allocator search --budget 40000 --task cola

commands:
  search    find the best ranks and learning rates within a budget
  baseline  train the uniform-rank baseline, and measure which ranks it uses
  sweep     train the allocations of a published comparison
  spaces    list search spaces, and what of them fits a model and a budget
  train     train best.yaml again, on all of train
  export    write a result for PEFT, as a plain model, or anew
  predict   answer texts or images with a study's adapter
  fetch     download a model from the package index

allocator COMMAND --help lists its options; allocator --version the version.
"""


def dispatch(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        # Help that was asked for is no mistake.
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"allocator {_find_version()}")
        return 0
    if arguments[0] not in COMMANDS:
        raise UnknownNameError("command", arguments[0], COMMANDS)
    command: Main = import_module(f"allocator.{arguments[0]}").main
    return command(arguments[1:])


def main() -> int:
    """Run the console script."""
    return run_command(dispatch)


def _find_version() -> str:
    try:
        return version("allocator")
    except PackageNotFoundError:  # run from a folder of the sources that was not installed
        return "of sources that were not installed"


if __name__ == "__main__":
    sys.exit(main())
