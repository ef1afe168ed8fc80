"""Holding a space and releasing it: builds of a held space stage and report, but do not publish."""

from __future__ import annotations

import getpass
import os
import socket

from flows.rollback import finish_standing
from schemas.errors import UsageError
from schemas.spec import SpaceSpec
from tasks.table.companions import Hold, current_hold, release_hold, set_hold
from tasks.table.dataset import TableRef


def this_person() -> str:
    """`user@host`; the user's number where the system has no name for it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def refuse_blank(reason: str, command: str) -> None:
    """Raise `UsageError` where a decision that others will ask about has no reason."""
    if not reason.strip():
        raise UsageError(
            f"--reason {reason!r} of `{command}` says nothing; expected a few words for whoever "
            "asks later why this was decided"
        )


def hold_space(spec: SpaceSpec, reason: str, who: str) -> tuple[Hold, bool]:
    """Hold the space; returns the hold in force, and whether it is this one.

    A space that is held already stays held by whom it was: nothing is written.
    """
    refuse_blank(reason, "hold")
    ref = TableRef.of(spec)
    standing = current_hold(ref)
    if standing is not None:
        return standing, False
    set_hold(ref, reason, who)
    hold = current_hold(ref)
    assert hold is not None
    return hold, True


def release_space(spec: SpaceSpec, reason: str, who: str) -> Hold:
    """Release the hold, and return it; a rollback that was killed is finished first.

    Raises `UsageError` where the space is not held.
    """
    ref = TableRef.of(spec)
    standing = current_hold(ref)
    if standing is None:
        raise UsageError(
            f"space {spec.space!r} at {spec.uri} is not held: builds publish; nothing was written"
        )
    finish_standing(spec)
    release_hold(ref, reason, who)
    return standing
