"""A small publish writes nothing into the indexes, and every search still sees exactly the rows."""

from __future__ import annotations

from pathlib import Path

import lancedb
import numpy as np
import pytest

from tasks.table import compaction, index
from tasks.table.compaction import compact
from tasks.table.dataset import open_main, open_version
from tasks.table.index import REMAP, index_states, tidy_indexes
from tasks.table.maintain import advance

MANY = {f"n{i}": f"common word{i} text" for i in range(400)}


@pytest.fixture
def indexed(space, monkeypatch):
    """400 rows with both indexes, made for 100."""
    monkeypatch.setattr(index, "VECTOR_INDEX_ROWS", 300)
    monkeypatch.setattr(index, "PARTITION_ROWS", 100)
    space.publish(MANY)
    assert set(index.indexed_columns(open_main(space.ref))) == {"text", "vector"}
    return space


def index_bytes(space) -> int:
    folder = Path(space.ref.path) / "_indices"
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def fresh(space) -> dict[str, tuple[int, int]]:
    """Index → rows that it does not know, and its pieces."""
    return {s.name: (s.fresh, s.segments) for s in index_states(open_version(space.ref, "prod"))}


def search_finds_exactly(space, content: dict[str, str], gone: dict[str, str]) -> None:
    """Each text by its vector and by its own word; none of those that left."""
    table = lancedb.connect(space.ref.uri).open_table("notes")
    table.checkout("prod")

    def texts(query) -> list[str]:
        return query.to_arrow()["text"].to_pylist()

    for text in content.values():
        near = table.search(np.asarray(space.vector_of(text))).distance_type("cosine").limit(1)
        assert texts(near) == [text]
        word = text.split()[1]
        assert texts(table.search(word, query_type="fts").limit(5)) == [text]
    for text in gone.values():
        near = table.search(np.asarray(space.vector_of(text))).distance_type("cosine").limit(1)
        assert texts(near) != [text]
        assert texts(table.search(text.split()[1], query_type="fts").limit(5)) == []


def changed(content: dict[str, str], start: int, count: int, turn: int) -> dict[str, str]:
    """`count` texts from `start` on are others."""
    keys = list(content)[start : start + count]
    return {**content, **{key: f"common new{turn}x{key} text" for key in keys}}


def test_a_small_change_writes_no_index_and_is_found(indexed):
    before = index_bytes(indexed)
    content = changed(MANY, 0, 4, 1)
    indexed.publish(content)
    assert index_bytes(indexed) == before
    assert fresh(indexed) == {"text_idx": (4, 1), "vector_idx": (4, 1)}
    some = {key: content[key] for key in [*list(content)[:4], "n100", "n399"]}
    search_finds_exactly(indexed, some, {key: MANY[key] for key in list(MANY)[:4]})


def test_past_the_limit_fresh_rows_become_a_piece_and_many_pieces_one(indexed, monkeypatch):
    monkeypatch.setattr(index, "SEGMENTS", 3)
    content, pieces = MANY, []
    for turn in range(6):
        content = changed(content, turn * 25, 25, turn)  # 6 %
        indexed.publish(content)
        assert fresh(indexed)["text_idx"][0] == 0
        pieces.append(fresh(indexed)["vector_idx"][1])
    assert pieces == [2, 3, 1, 2, 3, 1]
    some = {key: content[key] for key in list(content)[::23]}
    search_finds_exactly(indexed, some, {key: MANY[key] for key in list(MANY)[:150:29]})


def test_the_limit_of_a_large_table_is_a_number_of_rows():
    small = index.IndexState("i", 1, 100_000 - 5_000, 100_000)
    assert not small.due
    assert index.IndexState("i", 1, 100_000 - 5_001, 100_000).due
    assert not index.IndexState("i", 1, 10_000_000 - 50_000, 10_000_000).due
    assert index.IndexState("i", 1, 10_000_000 - 50_001, 10_000_000).due


def test_pieces_are_merged_and_the_map_of_compactions_goes(indexed, monkeypatch):
    monkeypatch.setattr(compaction, "HELD_SHARE", 10)
    monkeypatch.setattr(index, "PIECES", 4)
    content = MANY
    for turn in range(3):
        content = changed(content, turn * 40, 40, turn)
        indexed.publish(content)
        assert compact(indexed.ref) is not None
        advance(indexed.ref, "prod")
    names = {i.name for i in open_main(indexed.ref).describe_indices()}
    assert REMAP in names
    assert tidy_indexes(indexed.ref) == [
        "text_idx merged from 4 pieces",
        "vector_idx merged from 4 pieces",
    ]
    advance(indexed.ref, "prod")
    assert REMAP not in {i.name for i in open_main(indexed.ref).describe_indices()}
    assert fresh(indexed) == {"text_idx": (0, 1), "vector_idx": (0, 1)}
    some = {key: content[key] for key in list(content)[::19]}
    search_finds_exactly(indexed, some, {key: MANY[key] for key in list(MANY)[:120:17]})


def test_an_outgrown_vector_index_is_trained_again(indexed):
    more = MANY | {f"m{i}": f"more grown{i} text" for i in range(500)}
    indexed.publish(more)
    assert tidy_indexes(indexed.ref) == ["vector_idx trained again on 900 rows"]
    stats = open_main(indexed.ref).stats.index_stats("vector_idx")
    assert stats["indices"][0]["num_partitions"] == 9
    advance(indexed.ref, "prod")
    search_finds_exactly(indexed, {key: more[key] for key in list(more)[::67]}, {})
    assert tidy_indexes(indexed.ref) == []
