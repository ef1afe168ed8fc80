"""`rejects --retry`: what was rejected is tried again, and only that; attempts are counted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from made_images import made_image
from made_words import sentence
from schemas.spec import BuildOverrides
from tasks.embedders.sentence_transformers_embedder import StaticText
from tasks.ingest.reader import UnreadableError
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
    real = StaticText.submit_tokens

    def count(self, tokens, rows):
        calls.append(len(rows))
        return real(self, tokens, rows)

    monkeypatch.setattr(StaticText, "submit_tokens", count)
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
    from tasks.ingest import lines

    real = lines.byte_chunks

    def half(uri, options):
        whole = b"".join(real(uri, options))
        yield whole[: whole.rindex(b"\n", 0, whole.index(b"n20")) + 1]
        raise UnreadableError("connection reset")

    notes.changes |= LENIENT
    with monkeypatch.context() as broken:
        broken.setattr(lines, "byte_chunks", half)
        counts = notes.build().manifest.counts
    assert (counts.rows, counts.records_rejected) == (20, 1)
    before = notes.content()
    with monkeypatch.context() as worse:  # a retry never loses what was read well
        worse.setattr(lines, "byte_chunks", lambda uri, options: iter([b""]))
        assert notes.build(retry=True).message.endswith("none healed")
    assert notes.content() == before
    counts = notes.build(retry=True).manifest.counts
    assert (counts.rows, counts.new, counts.records_rejected) == (30, 10, 0)
    assert notes.content() == {f"docs:{key}": text for key, text in texts.items()}


@pytest.fixture
def failing(monkeypatch) -> set[int]:
    """Words at which the embedder fails; an empty set: it works."""
    words: set[int] = set()
    real = StaticText.submit_tokens

    def embed(self, tokens, rows):
        for row in rows:
            here = tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]]
            if words & set(np.asarray(here).tolist()):
                raise RuntimeError("index out of range in self")
        return real(self, tokens, rows)

    monkeypatch.setattr(StaticText, "submit_tokens", embed)
    return words


@pytest.fixture
def loads(monkeypatch) -> list[str]:
    """Each time that a build asks for the model."""
    import tasks.embed.embed_shard as stage

    asked: list[str] = []
    real = stage.load
    monkeypatch.setattr(stage, "load", lambda ref: asked.append(ref.model) or real(ref))
    return asked


def test_a_text_that_fails_to_embed_twice_and_then_works(notes, texts, failing, loads, embedded):
    notes.changes["expectations"] = {"max_reject_share": 1.0}
    notes.write({**texts, "bad": "w300 w301", "worse": "w310"})
    failing |= {300, 310}
    first = notes.build()
    assert (first.manifest.counts.rows, first.manifest.counts.items_rejected) == (30, 2)
    assert stored(notes) == {"docs:bad": ("embed-failed", 1), "docs:worse": ("embed-failed", 1)}

    loads.clear()
    # what is known to fail costs no model, not even beside an edit, and a dry run knows it
    assert notes.build(dry_run=True).manifest.counts.items_rejected == 2
    assert notes.build().message.endswith("nothing was written")
    assert loads == []
    notes.write({**texts, "n1": sentence(200), "bad": "w300 w301", "worse": "w310"})
    embedded.clear()
    counts = notes.build().manifest.counts
    assert (counts.changed, counts.embedded, counts.items_rejected) == (1, 1, 2)
    assert sum(embedded) == 1
    assert stored(notes) == {"docs:bad": ("embed-failed", 1), "docs:worse": ("embed-failed", 1)}

    once = notes.build(retry=True)
    assert once.message.endswith("2 rejects tried again, none healed")
    assert once.manifest.release == "v0002"
    assert stored(notes) == {"docs:bad": ("embed-failed", 2), "docs:worse": ("embed-failed", 2)}

    failing -= {300}
    embedded.clear()
    twice = notes.build(retry=True)
    counts = twice.manifest.counts
    assert (counts.new, counts.embedded, counts.items_rejected) == (1, 1, 1)
    assert balanced(counts)
    assert stored(notes) == {"docs:worse": ("embed-failed", 3)}
    assert notes.content()["docs:bad"] == "w300 w301"
    assert notes.build().message.endswith("v0003 stands, nothing was written")


def test_a_published_row_is_not_taken_for_one_that_fails(notes, texts, loads):
    """Another space may have met a failure where this one has a vector, if only in its table."""
    from schemas.identity import digest_bytes
    from tasks.store.refusals import write_refusals
    from tasks.store.workdir import Store

    notes.build()
    [vectors] = (notes.folder / "work" / "vectors").iterdir()
    content = digest_bytes(texts["n1"].encode())
    refusal = {"content_hash": content, "reason": "embed-failed", "detail": "no memory"}
    write_refusals(Store(str(notes.folder / "work")), vectors.name, [refusal])
    for path in vectors.iterdir():
        path.unlink()
    notes.write({**texts, "z": texts["n1"]})
    loads.clear()
    counts = notes.build().manifest.counts
    assert (counts.new, counts.unchanged, counts.items_rejected, loads) == (1, 30, 0, [])


def test_many_that_are_known_to_fail_are_no_broken_embedder(notes, texts, failing):
    notes.changes["expectations"] = {"max_reject_share": 1.0}
    bad = {f"bad{i}": f"w{300 + i}" for i in range(20)}
    notes.write({**texts, **bad})
    failing |= set(range(300, 320))
    notes.build()
    assert notes.build(retry=True).message.endswith("20 rejects tried again, none healed")


def test_only_one_reason_is_tried(documents, disk, failing, loads):
    disk.locked = {"d3.txt"}
    (documents.folder / "docs" / "bad.txt").write_text("w300")
    failing |= {300}
    documents.build()
    failing.clear()
    disk.locked = set()
    loads.clear()
    disk.take()
    documents.build(retry=True, retry_reason="unreadable-file")
    assert disk.take() == ["d3.txt"]
    assert stored(documents) == {"docs:bad.txt": ("embed-failed", 1)}
    documents.build(retry=True, retry_reason="embed-failed")
    assert disk.take() == []
    assert stored(documents) == {}
    assert len(documents.content()) == FILES + 1


def test_a_dry_run_of_a_retry_says_what_it_would_do_and_writes_nothing(documents, disk):
    disk.locked = {"d3.txt"}
    documents.build()
    disk.locked = set()
    files = documents.files()
    outcome = documents.build(retry=True, dry_run=True)
    assert "1 new" in outcome.message
    assert "1 contents to embed" in outcome.message
    assert documents.files() == files
    assert documents.build().message.endswith("nothing was written")


def test_a_record_is_tried_for_the_first_time_in_a_retry(documents, disk):
    """A file that was not there before the retry has had one attempt after it."""
    disk.locked = {"d3.txt", "new.txt"}
    documents.build()
    (documents.folder / "docs" / "new.txt").write_text(sentence(300))
    documents.build(retry=True)
    assert stored(documents) == {
        "d3.txt": ("unreadable-file", 2),
        "new.txt": ("unreadable-file", 1),
    }


def test_a_refused_build_does_not_lose_the_attempts(documents, disk, failing):
    (documents.folder / "docs" / "bad.txt").write_text("w300")
    failing |= {300}
    documents.build()
    documents.build(retry=True)
    assert stored(documents) == {"docs:bad.txt": ("embed-failed", 2)}
    documents.changes |= {"expectations": {"max_reject_share": 0.0}}
    disk.locked = {"d3.txt"}
    (documents.folder / "docs" / "d3.txt").write_text(sentence(305))
    refused = documents.build()
    assert refused.manifest.refused_by == ("max_reject_share:docs",)
    assert stored(documents) == {"d3.txt": ("unreadable-file", 1)}  # it came no further
    documents.changes |= LENIENT
    documents.build()
    assert stored(documents) == {
        "d3.txt": ("unreadable-file", 1),
        "docs:bad.txt": ("embed-failed", 2),
    }


def test_more_rejects_than_allowed_refuse_a_retry_too(documents, disk):
    disk.locked = {"d3.txt"}
    documents.build()
    documents.changes |= {"expectations": {"max_reject_share": 0.0}}
    outcome = documents.build(retry=True)
    assert outcome.manifest.refused_by == ("max_reject_share:docs",)
    disk.locked = set()
    assert documents.build(retry=True).manifest.release == "v0002"


def test_a_picture_whose_decoder_learns(notes, monkeypatch):
    """Of a folder of pictures the rejected one alone is opened."""
    import flows.demo
    import tasks.ingest.images as images
    import tasks.store.pictures as pictures

    folder = notes.folder / "pictures"
    folder.mkdir()
    for i, colour in enumerate(("red", "green", "blue", "yellow")):
        (folder / f"{colour}.png").write_bytes(made_image(colour, size=(40 + i, 40)))
    opened: list[str] = []

    def counted(uri, options=None):
        opened.append(Path(uri).name)
        return open_uri(uri, options)

    real = pictures._decoded
    unknown = {(42, 40)}

    def decoded(data, name=""):
        from schemas.reasons import Reason

        picture = pictures.Image.open(pictures.BytesIO(data))
        if picture.size in unknown:
            raise pictures.PictureError(Reason.CORRUPT_IMAGE, "a filter that nobody knows")
        return real(data, name)

    monkeypatch.setattr(images, "open_uri", counted)
    monkeypatch.setattr(pictures, "_decoded", decoded)
    model = str(Path(flows.demo.__file__).parent / "scene_clip")
    notes.changes |= LENIENT | {
        "sources": [{"name": "pictures", "kind": "image", "path": "pictures"}],
        "embedder": {"kind": "open-clip", "model": model, "engine": "torch", "precision": "fp32"},
    }
    first = notes.build()
    assert (first.manifest.counts.rows, len(opened)) == (3, 4)
    assert stored(notes) == {"blue.png": ("corrupt-image", 1)}
    opened.clear()
    unknown.clear()
    counts = notes.build(retry=True).manifest.counts
    assert opened == ["blue.png"]
    assert (counts.new, counts.unchanged, counts.embedded) == (1, 3, 1)
    assert stored(notes) == {}


class TestTheCommand:
    """`vecmill rejects SPEC --retry`."""

    def test_it_tells_what_healed_and_what_stays(self, documents, disk):
        (documents.folder / "docs" / "blank.txt").write_text(" ")
        disk.locked = {"d3.txt", "d7.txt"}
        documents.build()
        shown = documents.command("rejects")
        assert "can be tried again: --retry" in shown.err
        disk.locked = {"d7.txt"}
        answer = documents.command("rejects", "--retry", "--quiet")
        path = documents.folder / "docs" / "d3.txt"
        assert answer.code == 0
        lines = answer.out.splitlines()
        assert lines[0].startswith("published v0002 of 'notes'")
        assert lines[0].endswith("2 rejects tried again, 1 healed")
        assert lines[1] == "rejected no more: 1"
        assert lines[3:6] == [
            "    docs:d3.txt  Permission denied",
            f"        in {path}",
            "rejected still: 1",
        ]
        assert lines[7] == "    docs:d7.txt  Permission denied (2nd attempt)"
        assert "not tried: 1 that change only with the record, the spec or the suite" in answer.err
        assert "(empty-text)" in answer.err
        assert "(2nd attempt)" in documents.command("rejects").out

    def test_json(self, documents, disk):
        disk.locked = {"d3.txt", "d7.txt"}
        documents.build()
        disk.locked = {"d7.txt"}
        answer = documents.command("rejects", "--retry", "--json")
        found = json.loads(answer.out)
        assert (found["release"], found["refused_by"]) == ("v0002", [])
        [healed], [stays] = found["healed"], found["reasons"]
        assert [e["key"] for e in healed["examples"]] == ["d3.txt"]
        [example] = stays["examples"]
        assert example == {
            "source": "docs",
            "key": "d7.txt",
            "id": None,
            "detail": "Permission denied",
            "uri": str(documents.folder / "docs" / "d7.txt"),
            "position": None,
            "attempts": 2,
        }
        assert (stays["count"], stays["retriable"]) == (1, True)

    def test_nothing_to_try(self, documents):
        documents.build()
        answer = documents.command("rejects", "--retry", "--quiet")
        assert answer.code == 0
        assert answer.out == "'notes' is up to date: v0001 stands, nothing was written\n"

    def test_a_refused_retry_exits_3(self, documents, disk):
        disk.locked = {"d3.txt"}
        documents.build()
        documents.changes |= {"expectations": {"max_reject_share": 0.0}}
        answer = documents.command("rejects", "--retry", "--quiet")
        assert answer.code == 3
        assert "refused by max_reject_share:docs" in answer.err
        assert "rejected no more" not in answer.out

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            pytest.param(
                ["--retry", "--reason", "expectation:expect_x"],
                "--reason 'expectation:expect_x': it changes only with the record, the spec or the "
                "suite; expected one of corrupt-image, embed-failed",
                id="a reason that no retry heals",
            ),
            pytest.param(["--retry", "--build", "ab"], "--build 'ab': --retry tries", id="build"),
            pytest.param(["--source", "nope"], "--source 'nope': expected one of", id="source"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, documents, words, message):
        documents.build()
        answer = documents.command("rejects", *words)
        assert answer.code == 2
        assert message in answer.err

    def test_one_source(self, documents):
        (documents.folder / "docs" / "blank.txt").write_text(" ")
        documents.write({"a": sentence(1), "b": " "})
        documents.changes["sources"].append(
            {"name": "lines", "kind": "text", "path": "notes.jsonl", "key": "key", "text": "text"}
        )
        documents.build()
        answer = documents.command("rejects", "--source", "lines")
        assert "lines:b" in answer.out
        assert "docs:blank.txt" not in answer.out
        assert "1 rejected of source lines" in answer.err


def test_a_reason_alone_is_no_retry():
    with pytest.raises(ValueError, match="retry_reason 'embed-failed': expected `retry: true` too"):
        BuildOverrides(retry_reason="embed-failed")
