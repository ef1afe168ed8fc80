"""What a command says when it fails: one message on stderr, with the stage and the next step."""

from __future__ import annotations

import os
import traceback

import typer

from schemas.errors import VecmillError
from tasks.store.opening import without_credentials
from tasks.table.object_store import trouble, words

KEPT = "Finished work is kept, and nothing half-done is published"

NEXT_STEPS = {
    "no space left on device": f"{KEPT}: make room on the disk and run the same command again",
    "quota exceeded": f"{KEPT}: make room within the quota and run the same command again",
    "permission denied": f"{KEPT}: give the user that vecmill runs as the right to read and write "
    "there, and run the same command again",
    "read-only file system": f"{KEPT}: make the place writable, or name another in the spec, and "
    "run the same command again",
}
"""Part of a message, in small letters → what to do about it."""

UNEXPECTED = (
    f"This was not expected. {KEPT}: run the same\n  command again; `vecmill --debug …` shows the "
    "traceback, which a report of the error needs"
)

TOO_LITTLE_MEMORY = (
    f"{KEPT}: run the same command again with fewer\n  workers (--max-workers 1), or where there "
    "is more memory"
)


def complain(text: str) -> None:
    """One message on stderr."""
    typer.echo(f"vecmill: {text}", err=True)


def interrupted() -> int:
    """Ctrl-C: 1, and that nothing is lost."""
    complain("interrupted. Finished work is kept: run the same command again to go on")
    return 1


def known(error: VecmillError) -> int:
    """An error that explains itself; where it is no mistake of the user's, with its stage."""
    stage = _notes(error) if error.exit_code == 1 else ""
    if os.environ.get("VECMILL_DEBUG"):
        traceback.print_exception(error)
    complain(f"{error}{stage}")
    return error.exit_code


def unexpected(error: Exception) -> int:
    """Usage errors of typer are 2; anything else is 1, with its stage and the next step.

    Arrow and Lance make an error of their own of a Ctrl-C while they ask for the next batch.
    """
    if KeyboardInterrupt.__name__ in str(error):
        return interrupted()
    show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
    if show is not None and isinstance(code, int):
        show()
        return code
    if os.environ.get("VECMILL_DEBUG"):
        traceback.print_exception(error)
    if (store := trouble(error)) is not None:
        cause, step = store
        complain(f"{cause}: {words(error)}{_notes(error)}\n  {KEPT}: {step}, and run again")
        return 1
    said = without_credentials(f"{type(error).__name__}: {error}")
    complain(f"{said}{_notes(error)}\n  {_next_step(error)}")
    return 1


def _next_step(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return TOO_LITTLE_MEMORY
    said = str(error).lower()
    return next((step for part, step in NEXT_STEPS.items() if part in said), UNEXPECTED)


def _notes(error: BaseException) -> str:
    """The notes that the error collected on its way up: above all its stage."""
    return "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
