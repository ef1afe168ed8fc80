"""Tombstones: hashes that tell what was forgotten, once each, by source."""

from __future__ import annotations

import hashlib

import lance
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.store.workdir import Store
from tasks.table.dataset import TableRef
from tasks.table.tombstones import (
    append_tombstones,
    forgotten_rows,
    places,
    read_tombstones,
    tombstone,
    tombstone_files,
)


@pytest.fixture
def ref(tmp_path) -> TableRef:
    return TableRef(str(tmp_path / "db"), "notes")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "work"))


def test_a_tombstone_is_the_hash_of_the_encoded_source_and_key():
    expected = hashlib.blake2b(b"docs:a%3Ab%23c%25", digest_size=16).digest()
    assert tombstone("docs", "a:b#c%") == expected
    assert tombstone("mail", "a:b#c%") != expected


def test_nothing_was_forgotten(ref, store, tmp_path):
    assert read_tombstones(ref).height == 0
    assert tombstone_files(ref, store) == {}
    assert list(tmp_path.iterdir()) == []


def test_each_record_has_one_tombstone_without_its_key(ref, tmp_path):
    assert append_tombstones(ref, [("docs", "user-17"), ("docs", "x")], "op1", "ann", "a 1") == 2
    assert append_tombstones(ref, [("docs", "user-17"), ("mail", "x")], "op2", "bob", None) == 1
    found = read_tombstones(ref).sort("operation", "hash")
    assert found.group_by("operation").len().sort("operation").rows() == [("op1", 2), ("op2", 1)]
    assert set(found["hash"]) == {
        tombstone("docs", "user-17"),
        tombstone("docs", "x"),
        tombstone("mail", "x"),
    }
    rows = lance.dataset(ref.companion("tombstones").path).to_table().to_pylist()
    assert {(row["source"], row["who"], row["reason"]) for row in rows} == {
        ("docs", "ann", "a 1"),
        ("mail", "bob", None),
    }
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"user-17" not in written


def test_builds_get_a_file_for_each_source_named_after_what_it_holds(ref, store):
    append_tombstones(ref, [("docs", "a"), ("docs", "b"), ("mail", "a")], "op", "ann", None)
    files = tombstone_files(ref, store)
    assert sorted(files) == ["docs", "mail"]
    held = pq.read_table(files["docs"]).column("hash").to_pylist()
    assert held == sorted([tombstone("docs", "a"), tombstone("docs", "b")])
    assert tombstone_files(ref, store) == files
    append_tombstones(ref, [("docs", "c")], "op", "ann", None)
    later = tombstone_files(ref, store)
    assert (later["mail"], later["docs"] == files["docs"]) == (files["mail"], False)


def test_a_dry_run_writes_them_beside_the_workdir(ref, tmp_path):
    append_tombstones(ref, [("docs", "a")], "op", "ann", None)
    scratch = tmp_path / "scratch"
    files = tombstone_files(ref, Store(str(tmp_path / "work"), str(scratch)))
    assert files["docs"].startswith(str(scratch))
    assert not (tmp_path / "work").exists()


def test_places_and_rows_of_forgotten_records(tmp_path):
    ids = ["docs:a#0", "docs:a#1", "docs:a%23#0", "mail:a", "docs:b#0"]
    assert places(pl.Series(ids)).to_list() == [
        *("docs:a", "docs:a", "docs:a%23", "mail:a", "docs:b")
    ]
    dataset = lance.write_dataset(pa.table({"id": ids}), tmp_path / "t.lance")
    assert forgotten_rows(dataset, {tombstone("docs", "a")}) == 2
    assert forgotten_rows(dataset, {tombstone("docs", "a#"), tombstone("mail", "a")}) == 2
    assert forgotten_rows(dataset, {tombstone("mail", "b")}) == 0
    assert forgotten_rows(dataset, []) == 0
