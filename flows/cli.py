"""The command line: `vecmill COMMAND`. Each command is a few calls to what is imported late.

A command that does not build imports neither Prefect nor torch (but `search`, which embeds), so
that `--help`, `versions` and `rejects` answer at once.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import typer

from flows.commands.app import app
from flows.complaints import interrupted, known, unexpected
from schemas.errors import VecmillError

INTERRUPTED = 130
"""What typer makes of Ctrl-C; here it is 1 and a message."""

LOADED = time.perf_counter()
"""When the process had read this file: what it imports from here on is start up of a build."""

COMMANDS = ("first", "build", "reading", "rejects", "history", "upkeep", "forget")
"""The modules of `flows.commands`, in the order in which a newcomer meets their commands."""

for module in COMMANDS:
    import_module(f"flows.commands.{module}")


def run(arguments: Sequence[str], begun: float | None = None) -> int:
    """Run one command and return its exit code; what went wrong is one message on stderr.

    `begun` is `time.perf_counter()` when the command began; null: now.
    """
    command = typer.main.get_command(app)
    words = list(arguments)
    try:
        code = command.main(
            words,
            prog_name="vecmill",
            standalone_mode=False,
            obj=time.perf_counter() if begun is None else begun,
        )
    except VecmillError as error:
        return known(error)
    except (typer.Abort, KeyboardInterrupt):
        return interrupted()
    except BrokenPipeError:
        # The reader of stdout has gone (`| head`): nothing is wrong, and nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last place where an error can be explained
        return unexpected(error)
    if code == INTERRUPTED:
        return interrupted()
    return code if isinstance(code, int) else 0


def main() -> NoReturn:
    """The console script `vecmill`."""
    sys.exit(run(sys.argv[1:], begun=LOADED))


if __name__ == "__main__":
    main()
