"""Claims: which builder is at which shard, so that builders of one `workdir` share the work.

    with claim(store, name) as holder:      # claims/<name>, made by whoever is first
        if holder is None: …                # it is ours; it goes when the block ends
        else: …                             # that living builder is at it

A claim saves work and guards nothing: two who do the same shard write the same file. It lives as
long as its owner's lease; that of a dead owner is taken over.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.store.leases import lease_lives
from tasks.store.workdir import TEMPORARY, Store

CLAIMS = "claims"

EMPTY_READS = 20
EMPTY_SECONDS = 0.01
"""A claim is made first and then written: one that stays empty so long is of somebody killed."""

POLL_SECONDS = 0.2
"""Between two looks at another's claim: a shard takes 10 to 60 seconds."""


@contextmanager
def claim(store: Store, name: str) -> Iterator[str | None]:
    """Claim `name` for the time of the block; yields the living owner where another has it.

    Without an owner of its own (`store.owner` is "") nothing is claimed and nobody is looked for.
    """
    if not store.owner:
        yield None
        return
    path = claim_path(store, name)
    holder = _make(store, path)
    try:
        yield holder
    finally:
        if holder is None and claim_owner(path) == store.owner:
            path.unlink(missing_ok=True)


def claim_path(store: Store, name: str) -> Path:
    """Where the claim of that name lies."""
    return Path(store.scratch or store.root) / CLAIMS / name


def claim_owner(path: Path) -> str | None:
    """Who made the claim: "" where it is not written, None where it is gone."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def living_owner(store: Store, name: str) -> str | None:
    """The other builder that is at `name` and lives, or None."""
    path = claim_path(store, name)
    owner = claim_owner(path)
    for _ in range(EMPTY_READS):
        if owner != "":
            break
        time.sleep(EMPTY_SECONDS)
        owner = claim_owner(path)
    if not owner or owner == store.owner:
        return None
    return owner if lease_lives(store.root, owner) else None


def wait_for(store: Store, name: str, patience: float) -> None:
    """Wait until nobody else is at `name`, for at most `patience` seconds."""
    until = time.monotonic() + patience
    while store.owner and patience and living_owner(store, name) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)


def _make(store: Store, path: Path) -> str | None:
    """None when the claim is ours now, else its living owner."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(store.owner)
            return None
        except FileExistsError:
            holder = living_owner(store, path.name)
            if holder is not None:
                return holder
            if claim_owner(path) == store.owner:
                return None  # ours already: the shard is tried again
            _take_away(store, path)


def _take_away(store: Store, path: Path) -> None:
    """Remove a dead owner's claim, by a rename: of several who try one does it."""
    aside = path.with_name(f"{TEMPORARY}{store.owner}-{secrets.token_hex(4)}-{path.name}")
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
        aside.unlink(missing_ok=True)
