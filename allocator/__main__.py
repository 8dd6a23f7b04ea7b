"""`python -m allocator <command>`."""

import sys
from collections.abc import Sequence

from allocator import baseline, export, fetch, predict, search, spaces, sweep, train
from allocator.command_line.parser import run_command
from allocator.errors import UnknownNameError

COMMANDS = {
    "search": search.main,
    "baseline": baseline.main,
    "sweep": sweep.main,
    "spaces": spaces.main,
    "train": train.main,
    "export": export.main,
    "predict": predict.main,
    "fetch": fetch.main,
}
USAGE = f"usage: allocator {{{','.join(COMMANDS)}}} [options]; allocator <command> --help"


def dispatch(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        # Usage that was asked for is no mistake.
        return 0 if arguments else 2
    if arguments[0] not in COMMANDS:
        raise UnknownNameError("command", arguments[0], COMMANDS)
    return COMMANDS[arguments[0]](arguments[1:])


def main() -> int:
    """Run the console script."""
    return run_command(dispatch)


if __name__ == "__main__":
    sys.exit(main())
