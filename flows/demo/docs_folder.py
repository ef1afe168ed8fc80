"""The docstrings as a folder of jsonl files, one a package, with planted faults beside them.

    collect_docs → docs/<package>.jsonl + docs/zz-planted-faults.jsonl; held-back.jsonl aside

`held-back.jsonl` keeps some real records out of the source: `change_one_percent` adds from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path

from flows.demo.change import Change, atomic_write, shares_of_one_percent
from flows.demo.python_docs import (
    HELD_BACK,
    PACKAGES,
    RECORDS,
    Doc,
    collect_docs,
    planted_faults,
)

DOCS = "docs"
HELD_BACK_FILE = "held-back.jsonl"
FAULTS_FILE = "zz-planted-faults.jsonl"
"""Read last, so that the planted repeat of a key is the repeat and the real record stays."""


@dataclass(frozen=True)
class DocsFolder:
    """A written folder: real records in the source, real ones held back, planted faults."""

    folder: Path
    records: int
    held_back: int
    faults: int

    @property
    def docs(self) -> Path:
        """The folder of jsonl files that is the source."""
        return self.folder / DOCS


def write_docs(
    folder: Path, records: int = RECORDS, packages: Sequence[str] = PACKAGES
) -> DocsFolder:
    """Extract the docstrings and write them; the held-back file last: where it is, all is whole."""
    held = min(HELD_BACK, records // 10)
    found = collect_docs(records + held, packages)
    (folder / DOCS).mkdir(parents=True, exist_ok=True)
    # Every so-many-th record is held back: the additions come from all packages.
    every = max(2, len(found) // max(1, held))
    kept = [doc for number, doc in enumerate(found) if number % every]
    aside = [doc for number, doc in enumerate(found) if not number % every]
    for package, docs in groupby(sorted(kept, key=_place), key=lambda doc: doc.package):
        atomic_write(folder / DOCS / f"{package.lower()}.jsonl", encode_lines(docs))
    faults = planted_faults(kept[0])
    atomic_write(folder / DOCS / FAULTS_FILE, b"\n".join(faults) + b"\n")
    atomic_write(folder / HELD_BACK_FILE, encode_lines(aside))
    return DocsFolder(folder, len(kept), len(aside), len(faults))


def read_docs(folder: Path) -> DocsFolder:
    """What the folder holds now; `FileNotFoundError` where `write_docs` has not finished."""
    aside = len(_lines(folder / HELD_BACK_FILE))
    faults = len(_lines(folder / DOCS / FAULTS_FILE))
    records = sum(len(_lines(path)) for path in _record_files(folder))
    return DocsFolder(folder, records, aside, faults)


def change_one_percent(folder: Path, turn: int = 1) -> Change:
    """Edit, add and delete one record in a hundred, spread over all files.

    `turn` numbers the changes: each touches other records. Additions are held-back records; when
    those are used up, edits take their place.
    """
    docs = [
        (path, Doc(**json.loads(line))) for path in _record_files(folder) for line in _lines(path)
    ]
    aside = [Doc(**json.loads(line)) for line in _lines(folder / HELD_BACK_FILE)]
    shares = shares_of_one_percent(len(docs))
    added, aside = aside[: shares.added], aside[shares.added :]
    edited = shares.edited + shares.added - len(added)
    step = len(docs) // (edited + shares.removed)
    chosen = [(turn * 7 + number * step) % len(docs) for number in range(edited + shares.removed)]
    edits, removals = set(chosen[shares.removed :]), set(chosen[: shares.removed])
    now: dict[Path, list[Doc]] = {}
    for number, (path, doc) in enumerate(docs):
        if number not in removals:
            now.setdefault(path, []).append(_edited(doc, turn) if number in edits else doc)
    for doc in added:
        now.setdefault(folder / DOCS / f"{doc.package.lower()}.jsonl", []).append(doc)
    for path, left in now.items():
        atomic_write(path, encode_lines(left))
    atomic_write(folder / HELD_BACK_FILE, encode_lines(aside))
    return replace(shares, edited=edited, added=len(added))


def _edited(doc: Doc, turn: int) -> Doc:
    return replace(doc, text=f"{doc.text}\n\nEdited by the demo, change {turn}.")


def encode_lines(docs: Iterable[Doc]) -> bytes:
    """The records as jsonl."""
    return b"".join(json.dumps(asdict(doc), ensure_ascii=False).encode() + b"\n" for doc in docs)


def _place(doc: Doc) -> tuple[str, str]:
    return doc.package, doc.key


def _record_files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / DOCS).glob("*.jsonl") if path.name != FAULTS_FILE)


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()
