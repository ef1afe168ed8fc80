"""`rejects --retry`: what was rejected is tried again, and only that; attempts are counted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from made_words import sentence
from tasks.embedders.sentence_transformers_embedder import StaticText
from tasks.ingest.documents import DocumentReader
from tasks.store.opening import open_uri
from tasks.table.companions import read_builds, read_rejects

FILES = 12
LENIENT = {"expectations": {"max_reject_share": 0.9}}


class Disk:
    """The documents' files, some of which cannot be opened; `opened` is what was tried."""

    def __init__(self) -> None:
        self.locked: set[str] = set()
        self.opened: list[str] = []

    def open(self, uri: str, options=None):
        name = Path(uri).name
        self.opened.append(name)
        if name in self.locked:
            raise PermissionError(13, "Permission denied")
        return open_uri(uri, options)

    def take(self) -> list[str]:
        """What was opened since the last time."""
        opened, self.opened = sorted(self.opened), []
        return opened


@pytest.fixture
def disk(monkeypatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr("tasks.ingest.documents.open_uri", disk.open)
    return disk


@pytest.fixture
def documents(notes):
    """Twelve documents in a folder instead of the table; `d3` and `d7` begin with `w3` and `w7`."""
    folder = notes.folder / "docs"
    folder.mkdir()
    for i in range(FILES):
        (folder / f"d{i}.txt").write_text(sentence(i, i + 40, i + 80))
    notes.changes |= LENIENT | {"sources": [{"name": "docs", "kind": "text", "path": "docs"}]}
    return notes


@pytest.fixture
def embedded(monkeypatch) -> list[int]:
    """How many contents were given to the embedder, call by call."""
    calls: list[int] = []
    real = StaticText.embed_tokens

    def count(self, tokens, rows):
        calls.append(len(rows))
        return real(self, tokens, rows)

    monkeypatch.setattr(StaticText, "embed_tokens", count)
    return calls


def stored(notes, build_id: str | None = None) -> dict[str, tuple[str, int]]:
    """Key or item → reason and attempts, of a build (default: the last that was recorded)."""
    build_id = build_id or read_builds(notes.ref)[-1].manifest.build_id
    batches = list(read_rejects(notes.ref, build_id))
    frame = pl.DataFrame(pa.Table.from_batches(batches)) if batches else pl.DataFrame()
    return {
        row["id"] or row["key"] or str(row["position"]): (row["reason"], row["attempts"])
        for row in frame.iter_rows(named=True)
    }


def balanced(counts) -> bool:
    return (
        counts.records == counts.records_used + counts.records_rejected
        and counts.items == counts.rows + counts.items_rejected
    )


def test_files_that_could_not_be_opened_heal_and_nothing_else_is_opened(documents, disk, embedded):
    disk.locked = {"d3.txt", "d7.txt"}
    first = documents.build()
    assert first.manifest.counts.records_rejected == 2
    assert len(disk.take()) == FILES
    assert stored(documents) == {f"d{i}.txt": ("unreadable-file", 1) for i in (3, 7)}

    embedded.clear()
    disk.locked = {"d7.txt"}
    assert documents.build().message.endswith("v0001 stands, nothing was written")
    assert disk.take() == []  # an ordinary build does not try

    retried = documents.build(retry=True)
    assert disk.take() == ["d3.txt", "d7.txt"]
    assert sum(embedded) == 1
    counts = retried.manifest.counts
    assert (counts.new, counts.unchanged, counts.records_rejected) == (1, 11 - 1, 1)
    assert balanced(counts)
    assert retried.message.endswith("tag 'prod'; 2 rejects tried again, 1 healed")
    assert stored(documents) == {"d7.txt": ("unreadable-file", 2)}
    assert documents.content()["docs:d3.txt"] == sentence(3, 43, 83)


def test_what_healed_stays_healed(documents, disk, embedded):
    disk.locked = {"d3.txt"}
    documents.build()
    disk.locked = set()
    documents.build(retry=True)
    whole = documents.content()
    disk.take()

    assert documents.build().message == "'notes' is up to date: v0002 stands, nothing was written"
    assert disk.take() == []
    again = documents.build(retry=True)
    assert again.message == "'notes' is up to date: v0002 stands, nothing was written"
    assert disk.take() == []

    (documents.folder / "docs" / "d5.txt").write_text(sentence(200))
    embedded.clear()
    edited = documents.build().manifest.counts
    assert (edited.changed, edited.unchanged, edited.records_rejected) == (1, 11, 0)
    assert sum(embedded) == 1
    assert documents.content() == {**whole, "docs:d5.txt": sentence(200)}


def test_the_records_are_those_of_a_reading_without_fault(documents, disk):
    disk.locked = {"d0.txt", "d3.txt", "d11.txt"}
    documents.build()
    disk.locked = set()
    documents.build(retry=True)
    healed = documents.content()
    (documents.folder / "work").rename(documents.folder / "old")  # a fresh start
    assert documents.build().message == "'notes' is up to date: v0002 stands, nothing was written"
    assert documents.content() == healed


def test_nothing_heals(documents, disk, embedded):
    disk.locked = {"d3.txt"}
    documents.build()
    before, tags, builds = documents.content(), documents.tags(), len(read_builds(documents.ref))
    files = {name for name in documents.files() if name.startswith("work/")}
    embedded.clear()
    for attempt in (2, 3):
        outcome = documents.build(retry=True)
        assert outcome.exit_code == 0
        assert outcome.message == (
            "'notes' is up to date: v0001 stands, its rejects were recorded, no row changed; "
            "1 reject tried again, none healed"
        )
        assert stored(documents) == {"d3.txt": ("unreadable-file", attempt)}
    assert embedded == []
    assert (documents.content(), documents.tags()) == (before, tags)
    assert len(read_builds(documents.ref)) == builds + 2
    assert {name for name in documents.files() if name.startswith("work/")} == files
    # a build without retry carries the number over
    (documents.folder / "docs" / "new.txt").write_text(sentence(300))
    documents.build()
    assert stored(documents) == {"d3.txt": ("unreadable-file", 3)}


def test_the_reason_that_it_has_now_is_told(documents, disk, embedded):
    disk.locked = {"d3.txt"}
    documents.build()
    path = documents.folder / "docs" / "d3.txt"
    times = path.stat()
    path.write_bytes(b"\xff" + b"x" * (times.st_size - 1))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    disk.locked = set()
    embedded.clear()
    outcome = documents.build(retry=True)
    assert outcome.manifest.release == "v0001"
    assert not outcome.manifest.published
    assert stored(documents) == {"d3.txt": ("not-utf8", 1)}  # another reason, another reject
    assert embedded == []
    assert documents.build().message.endswith("nothing was written")


def test_a_table_with_a_bad_line_that_stays(notes, texts, embedded):
    notes.changes |= LENIENT
    notes.write(texts)
    path = notes.folder / "notes.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:4], "{broken\n", *lines[4:]]))
    first = notes.build()
    assert (first.manifest.counts.rows, first.manifest.counts.records_rejected) == (30, 1)
    embedded.clear()
    outcome = notes.build(retry=True)
    assert outcome.message.endswith("1 reject tried again, none healed")
    assert stored(notes) == {"5": ("malformed-line", 2)}
    assert embedded == []


def test_a_table_that_broke_off_is_read_to_its_end(notes, texts, monkeypatch):
    import tasks.ingest.lines as lines

    notes.changes |= LENIENT
    real = lines.LineReader.read if hasattr(lines, "LineReader") else None
    assert real is not None
