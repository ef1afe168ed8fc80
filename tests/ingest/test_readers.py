"""A reader of one's own: found by its entry point, chosen by its ending, counted like ours."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas.reasons import Reason
from tasks.ingest import reader as registry
from tasks.ingest.reader import RawBatch, Rejected, UnreadableError, reader_for
from tasks.store.opening import open_uri


class Poems:
    """Stanzas between blank lines; one that shouts is rejected, `!!!` breaks the file off."""

    kind = "text"
    suffixes = (".poem.txt",)
    many = True
    has_columns = False
    needs = ()

    def columns(self, file, options):
        """A poem has no columns."""

    def read(self, file, part, options):
        """One batch a stanza."""
        with open_uri(file.uri, options) as stream:
            stanzas = stream.read().decode().split("\n\n")
        for i, stanza in enumerate(stanzas):
            if stanza.startswith("!!!"):
                raise UnreadableError("the rest is torn off")
            if stanza.isupper():
                reject = Rejected(0, Reason.BAD_VALUE, "a shout", position=i)
                yield RawBatch(
                    1, pa.RecordBatch.from_pydict({"key": pa.array([], pa.string())}), (reject,)
                )
            else:
                columns = {"key": [f"{file.key}/{i}"], "text": [stanza]}
                yield RawBatch(1, pa.RecordBatch.from_pydict(columns))


class Entry:
    """An installed entry point."""

    name, value = "poems", "poems:Poems"

    def load(self):
        """The reader's class."""
        return Poems


@pytest.fixture
def _poems_installed(monkeypatch):
    """The package of the reader is installed."""
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [Entry()] if group == "vecmill.readers" else []
    )
    registry.readers.cache_clear()
    yield
    registry.readers.cache_clear()


@pytest.mark.usefixtures("_poems_installed")
def test_a_reader_of_ones_own(tmp_path, ingest):
    (tmp_path / "mill.poem.txt").write_text("The wheel\n\nTHE WHEEL\n\nThe water\n\n!!!\n\nlost")
    (tmp_path / "plain.txt").write_text("no poem")
    found = ingest(tmp_path / "*.txt")
    assert found.records("row", "key", "text") == [
        (0, "mill.poem.txt/0", "The wheel"),
        (2, "mill.poem.txt/2", "The water"),
        (0, "plain.txt", "no poem"),
    ]
    assert found.rejects("row", "key", "reason", "detail", "position") == [
        (1, None, "bad-value", "a shout", 1),
        (3, None, "unreadable-file", "the rest is torn off", None),
    ]


@pytest.mark.usefixtures("_poems_installed")
def test_a_reader_that_loses_a_record_is_found_out(tmp_path, ingest, monkeypatch):
    batch = pa.RecordBatch.from_pydict({"key": ["a"], "text": ["x"]})
    monkeypatch.setattr(Poems, "read", lambda *_: iter([RawBatch(2, batch)]))
    (tmp_path / "a.poem.txt").write_text("x")
    with pytest.raises(AssertionError, match="met 2 records but handed on 1"):
        ingest(tmp_path / "a.poem.txt")


@pytest.mark.parametrize(
    ("name", "ending"),
    [("A.CSV", ".csv"), ("a.jsonl.gz", ".jsonl.gz"), ("x.tar.md", ".md"), ("a.gz", None)],
)
def test_the_longest_known_ending_chooses(name, ending):
    found = reader_for(name, "text")
    assert (ending in found.suffixes) if ending else found is None
