"""Which reading of a part counts: the first one, or one in which a retry healed something.

Files are immutable and named after what they hold, so a part that healed has files of other names;
`retries/<part digest>.json` says which. The names of all later stages hang on the records' name: a
reading that heals nothing keeps it, and so changes nothing behind it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from tasks.store.workdir import TEMPORARY, Store

FOLDER = "retries"


@dataclass(frozen=True)
class Reading:
    """The names of a part's files in `records/` and `rejects/`, and the number of its records."""

    records: str
    rejects: str
    rows: int = -1  # of the first reading and of drafts, which nobody counted


def first_reading(digest: str) -> Reading:
    """What a part is named by before any retry."""
    return Reading(digest, f"ingest-{digest}")


def standing_reading(store: Store, digest: str) -> Reading:
    """The reading that counts for the part of that digest: one look-up."""
    path = store.find(FOLDER, digest, ".json")
    return first_reading(digest) if path is None else Reading(**json.loads(path.read_bytes()))


def keep_reading(store: Store, digest: str, reading: Reading, instead: Reading) -> None:
    """From now on `reading` counts `instead`; but if somebody else's healed more by now, that."""
    now = standing_reading(store, digest)
    if now == instead or now.rows <= reading.rows:
        with store.create(FOLDER, digest, ".json") as path:
            path.write_text(json.dumps(asdict(reading)), "utf-8")


@contextmanager
def draft_reading(store: Store) -> Iterator[Reading]:
    """Names for files that are not known to be kept: whatever is left of them at the end goes."""
    name = f"{TEMPORARY}{store.owner}-{secrets.token_hex(4)}-reading"
    try:
        yield Reading(name, name)
    finally:
        for folder in ("records", "rejects"):
            store.path(folder, name).unlink(missing_ok=True)
