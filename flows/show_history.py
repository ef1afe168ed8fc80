"""What the commands on a space's history show: holds, what changed, verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.table.companions import Hold


def hold_document(hold: Hold | None) -> dict[str, Any] | None:
    """The hold for `--json`; None where builds publish."""
    return None if hold is None else {"reason": hold.reason, "who": hold.who, "at": hold.at}


def hold_in_words(space: str, hold: Hold) -> str:
    """Who holds the space, since when and why, and how it ends."""
    return (
        f"{space!r} is held by {hold.who} since {hold.at:%Y-%m-%d %H:%M}: {hold.reason}; builds do "
        "not publish until `vecmill release-hold`"
    )
