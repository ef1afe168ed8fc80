"""Records become items: ids, offsets, hashes, and a file that is made once."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from schemas.arrow import ROW_HASH_NAMES, items_schema
from schemas.identity import content_hashes, item_id, row_hashes
from schemas.refs import RejectsRef
from tasks.chunk.chunk_part import chunk_part
from tasks.chunk.rule import ChunkRule
from tasks.store.workdir import RejectsWriter


@pytest.fixture
def rule(tokenizer: str) -> ChunkRule:
    return ChunkRule(
        kind="text",
        max_tokens=8,
        window=254,
        tokenizer=tokenizer,
        tokenizer_digest="t",
        model_tokenizer=tokenizer,
        model_tokenizer_digest="t",
    )


@pytest.fixture
def whole(tokenizer: str) -> ChunkRule:
    return ChunkRule(
        kind="text",
        max_tokens=None,
        window=10,
        model_tokenizer=tokenizer,
        model_tokenizer_digest="t",
    )


def test_chunks_are_numbered_and_point_back_into_their_record(write_texts, rule, store):
    text = "The first paragraph is here.\n\nThe second one follows it."
    part = write_texts([text, "Short."])
    items = chunk_part(part, (), rule, store)
    rows = pq.read_table(items.path).to_pylist()
    assert [(r["id"], r["chunk"], r["start"], r["end"], r["text"]) for r in rows] == [
        ("docs:d0#0", 0, 0, 28, "The first paragraph is here."),
        ("docs:d0#1", 1, 30, 56, "The second one follows it."),
        ("docs:d1#0", 0, 0, 6, "Short."),
    ]
    assert (items.records, items.items, items.truncated) == (2, 3, 0)


def test_a_long_record_is_not_repeated_for_each_of_its_chunks(write_texts, rule, store):
    # 1.8 MB in 5,000 chunks and more: repeated, beyond what an Arrow string column holds
    text = "\n\n".join(f"Paragraph {n} says this." + " " * 300 for n in range(5_600))
    items = chunk_part(write_texts([text]), (), rule, store)
    assert items.items >= 5_600
    assert len(text) * items.items > 2**31


def test_the_file_has_the_schema_of_items_and_hashes_by_the_rules(write_texts, rule, store):
    part = write_texts(["One text.", "Another."], zone=["a", None], lang=["en", "de"])
    table = pq.read_table(chunk_part(part, (), rule, store).path)
    user = [table.schema.field("zone"), table.schema.field("lang")]
    assert table.schema.remove_metadata() == items_schema(user)
    assert table["content_hash"].combine_chunks() == content_hashes(["One text.", "Another."])
    expected = row_hashes(table, [*ROW_HASH_NAMES, "lang", "zone"])
    assert table["row_hash"].combine_chunks() == expected
    assert table["size"].to_pylist() == [9, 8]


def test_ids_encode_their_key_as_the_rules_say(write_texts, rule, store):
    keys = ["a:b", "50%", "c#1", "ü/x.md"]
    rows = pq.read_table(chunk_part(write_texts(["word"] * 4, keys), (), rule, store).path)
    assert rows["id"].to_pylist() == [item_id("docs", key, 0) for key in keys]


def test_whole_records_have_no_number_and_count_what_the_model_cuts(write_texts, whole, store):
    long = "word " * 11
    items = chunk_part(write_texts([long, "short"]), (), whole, store)
    rows = pq.read_table(items.path).to_pylist()
    assert [(r["id"], r["chunk"], r["start"], r["end"]) for r in rows] == [
        ("docs:d0", 0, 0, 55),
        ("docs:d1", 0, 0, 5),
    ]
    assert rows[0]["text"] == long
    assert rows[0]["content_hash"] == content_hashes([long])[0].as_py()
    assert items.truncated == 1


def test_images_pass_through_with_their_hash_and_thumbnail(write_images, store):
    items = chunk_part(write_images([b"one", b"two"]), (), ChunkRule("image", None), store)
    rows = pq.read_table(items.path).to_pylist()
    assert [(r["id"], r["chunk"], r["start"], r["end"], r["size"]) for r in rows] == [
        ("photos:cats/0.jpg", 0, 0, 0, 3),
        ("photos:cats/1.jpg", 0, 0, 0, 3),
    ]
    assert rows[0]["content_hash"] == content_hashes([b"one"])[0].as_py()
    assert rows[0]["thumbnail"] == b"small one"
    assert rows[0]["text"] is None
    assert (items.kind, items.records, items.items) == ("image", 2, 2)


def test_excluded_rows_are_left_out_and_name_another_file(write_texts, rule, store):
    part = write_texts(["one", "two", "three"])
    with RejectsWriter(store, "repeats", stage="ingest", part=part.digest) as writer:
        writer.add(source="docs", kind="text", reason="repeated-key", uri="x", row=1)
    all_items = chunk_part(part, (), rule, store)
    some = chunk_part(part, (writer.ref,), rule, store)
    assert pq.read_table(some.path)["text"].to_pylist() == ["one", "three"]
    assert (some.records, some.items) == (2, 2)
    assert some.digest != all_items.digest


def test_a_record_without_a_token_is_rejected_and_counted(write_texts, rule, whole, store):
    part = write_texts(["fine", "\u200b\u200b"])
    for each in (rule, whole):
        items = chunk_part(part, (), each, store)
        (reject,) = pq.read_table(items.rejects.path).to_pylist()
        assert (items.records, items.rejects.records) == (1, 1)
        assert (reject["key"], reject["reason"], reject["stage"]) == ("d1", "empty-text", "chunk")
        assert (reject["part"], reject["row"]) == (part.digest, 1)


def test_a_file_that_exists_is_not_made_again(write_texts, whole, store):
    part = write_texts(["word " * 11, "\u200b"])
    first = chunk_part(part, (), whole, store)
    written = Path(first.path).stat().st_mtime_ns
    Path(part.path).unlink()  # so that making it again would fail
    assert chunk_part(part, (), whole, store) == first
    assert Path(first.path).stat().st_mtime_ns == written


def test_the_rule_names_the_file_but_its_place_does_not(write_texts, rule, store, tmp_path):
    from dataclasses import replace

    part = write_texts(["one"])
    name = chunk_part(part, (), rule, store).digest
    assert chunk_part(part, (), replace(rule, max_tokens=9), store).digest != name
    assert chunk_part(part, (), replace(rule, tokenizer_digest="u"), store).digest != name
    moved = tmp_path / "moved.json"
    moved.write_bytes(Path(rule.tokenizer).read_bytes())
    assert chunk_part(part, (), replace(rule, tokenizer=str(moved)), store).digest == name


def test_long_texts_are_cut_some_at_a_time_with_the_same_result(
    write_texts, rule, store, tmp_path, monkeypatch
):
    from tasks.store.workdir import Store

    part = write_texts([f"word {n} " * n for n in range(1, 40)])
    together = pq.read_table(chunk_part(part, (), rule, store).path)
    monkeypatch.setattr("tasks.chunk.chunk_part.SIZE_AT_ONCE", 300)
    apart = chunk_part(part, (), rule, Store(str(tmp_path / "other")))
    assert pq.read_table(apart.path) == together
    assert apart.records == 39


def test_a_part_without_records_gives_an_empty_file(write_texts, rule, store):
    items = chunk_part(write_texts([]), (), rule, store)
    assert pq.read_table(items.path).num_rows == 0
    assert (items.records, items.items, items.rejects.records) == (0, 0, 0)
    assert isinstance(items.rejects, RejectsRef)
