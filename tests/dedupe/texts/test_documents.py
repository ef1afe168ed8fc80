"""Published records put together from their chunks resemble others as their files did."""

from __future__ import annotations

import polars as pl
from made_records import made_records

from made_items import made_items
from schemas.spec import DedupeSpec, NearSpec
from tasks.dedupe.near import find_near
from tasks.dedupe.texts.documents import kept_documents
from tasks.store.workdir import Store

TEXT = "A first paragraph of some length.\n\nA second, which overlaps.\n\nAnd the third of them."
SPEC = DedupeSpec(near=NearSpec(threshold=1.0))


def cut(store: Store, text: str, spans: list[tuple[int, int]], key: str = "old"):
    """The chunks of a record, last one first: the order of a release is not that of the text."""
    spans = spans[::-1]
    count = len(spans)
    numbers = list(range(count))[::-1]
    return made_items(
        store,
        {f"{key}#{n}": text[a:b] for n, (a, b) in zip(numbers, spans, strict=True)},
        source="log",
        values={
            "id": [f"log:{key}#{n}" for n in numbers],
            "key": [key] * count,
            "chunk": numbers,
            "start": [a for a, _ in spans],
            "end": [b for _, b in spans],
        },
    )


def test_chunks_with_gaps_and_overlaps_are_the_text_again(tmp_path) -> None:
    store = Store(str(tmp_path))
    second, third = TEXT.index("A second"), TEXT.index("And the")
    spans = [(0, second - 2), (second - 10, third - 2), (third, len(TEXT))]
    part = kept_documents(cut(store, TEXT, spans), store)
    [row] = pl.read_parquet(part.path).rows(named=True)
    assert row["text"].split() == TEXT.split()
    assert (row["key"], row["size"], row["source"]) == ("old", len(TEXT), "log")


def test_a_kept_record_resembles_a_new_one(tmp_path) -> None:
    store = Store(str(tmp_path))
    second = TEXT.index("A second")
    kept = cut(store, TEXT, [(0, second - 2), (second, len(TEXT))])
    new = made_records(store, {"new": TEXT, "other": "Nothing of the kind."})
    marked = pl.read_parquet(find_near([new], [()], [kept], SPEC, store))
    assert marked.select("source", "key", "kept_id", "score").rows() == [
        ("log", "old", "docs:new", 1.0)
    ]


def test_many_items_are_taken_in_pieces(tmp_path, monkeypatch) -> None:
    store = Store(str(tmp_path))
    items = made_items(store, {f"k{i}": f"text number {i}" for i in range(50)}, source="log")
    monkeypatch.setattr("tasks.dedupe.texts.documents.ITEMS_AT_ONCE", 9)
    found = pl.read_parquet(kept_documents(items, store).path)
    assert dict(found.select("key", "text").rows()) == {
        f"k{i}": f"text number {i}" for i in range(50)
    }
    assert found["row"].to_list() == list(range(50))
