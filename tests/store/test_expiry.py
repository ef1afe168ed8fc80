"""The workdir does not grow for ever: what nobody uses goes, and small vector files become one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.arrow import vectors_schema
from schemas.identity import digest_bytes
from tasks.store.expiry import DAY, expire
from tasks.store.leases import Holder, Lease, hold_lease
from tasks.store.merging import FEWEST_FILES, WEEK, merge_vectors
from tasks.store.vectors import _hashes, read_vectors, vector_index
from tasks.store.workdir import Store

KEY = "f-torch-fp32"


def put(root: Path, name: str, days: float) -> Path:
    """A file that was used `days` ago."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x" * 10)
    used = time.time() - days * DAY
    os.utime(path, (used, used))
    return path


def left(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def lease(began_days: float) -> Lease:
    holder = Holder("far", "boot", "space", 1, time.time() - began_days * DAY)
    return Lease("b1", "other", "build", holder, 1.0, Path("b1.json"))


@pytest.fixture
def used(tmp_path) -> Path:
    for days in (0.5, 1.5, 3, 10, 40):
        put(tmp_path, f"items/{days}.parquet", days)
    put(tmp_path, "reports/notes/old.html", 40)
    put(tmp_path, "items/.tmp-b1-half.parquet", 40)
    put(tmp_path, "engines/f/.tmp-export-00ff-openvino/text.xml", 40)
    put(tmp_path, "leases/b1.json", 40)
    return tmp_path


KEPT = [
    "engines/f/.tmp-export-00ff-openvino/text.xml",
    "items/.tmp-b1-half.parquet",
    "leases/b1.json",
]


@pytest.mark.parametrize(
    ("days", "at_work", "stay"),
    [
        pytest.param(30, [], ["0.5", "1.5", "10", "3"], id="thirty days"),
        pytest.param(2, [], ["0.5", "1.5"], id="two days"),
        pytest.param(0, [], [], id="everything"),
        pytest.param(0, [lease(0)], ["0.5"], id="a build that began just now"),
        pytest.param(0, [lease(2)], ["0.5", "1.5", "3"], id="a build that began two days ago"),
        pytest.param(30, [lease(50)], ["0.5", "1.5", "10", "3", "40"], id="a very long build"),
        pytest.param(30, [lease(1)], ["0.5", "1.5", "10", "3"], id="thirty days beside a build"),
    ],
)
def test_what_stays(used, days, at_work, stay):
    done = expire(used, days, at_work)
    expected = [f"items/{name}.parquet" for name in stay]
    if "40" in stay:
        expected.append("reports/notes/old.html")
    assert left(used) == sorted([*KEPT, *expected])
    assert (done.files, done.freed) == (6 - len(expected), 10 * (6 - len(expected)))


def test_a_file_that_is_found_is_used(tmp_path):
    store = Store(str(tmp_path))
    found, unfound = put(tmp_path, "items/a.parquet", 40), put(tmp_path, "items/b.parquet", 40)
    today = put(tmp_path, "items/c.parquet", 0.5)
    before = today.stat().st_mtime
    assert store.find("items", "a") == found
    assert store.find("items", "c") == today
    assert today.stat().st_mtime == before  # once a day is enough
    expire(tmp_path, 30, [])
    assert not unfound.exists()
    assert found.exists()


def test_a_dry_run_marks_nothing(tmp_path):
    path = put(tmp_path / "work", "items/a.parquet", 40)
    before = path.stat().st_mtime
    assert Store(str(tmp_path / "work"), str(tmp_path / "scratch")).find("items", "a") == path
    assert path.stat().st_mtime == before


def vectors(store: Store, *words: str) -> Path:
    """A vector file: each word's vector holds its own length."""
    values = pa.array(np.repeat([len(word) for word in words], 4).astype(np.float32))
    schema = vectors_schema(4)
    hashes = pa.array([digest_bytes(word.encode()) for word in words], schema.field(0).type)
    table = pa.table([hashes, pa.FixedSizeListArray.from_arrays(values, 4)], schema=schema)
    with store.create(f"vectors/{KEY}", words[0]) as path:
        pq.write_table(table, path)
    made = store.path(f"vectors/{KEY}", words[0])
    return made


def known(store: Store) -> dict[bytes, float]:
    index = vector_index(store, KEY)
    hashes = np.unique(index.hashes)
    vectors = read_vectors(index.find(hashes), 4)
    return dict(zip(hashes.tolist(), vectors[:, 0].tolist(), strict=True))


@pytest.fixture
def store(tmp_path) -> Store:
    made = Store(str(tmp_path), owner="me")
    for i in range(FEWEST_FILES):
        vectors(made, f"word{'x' * i}", f"other{'y' * i}", "everywhere")
    return made


def test_small_vector_files_become_one(store):
    old = vectors(store, "of another week")
    before = known(store)
    weeks_ago = time.time() - 3 * WEEK  # reading them marked them as used
    os.utime(old, (weeks_ago, weeks_ago))
    assert merge_vectors(store, lambda: True) == FEWEST_FILES
    files = store.files(f"vectors/{KEY}")
    assert len(files) == 2
    assert old in files  # it expires by itself
    assert known(store) == before
    assert merge_vectors(store, lambda: True) == 0


def test_a_merged_file_is_as_old_as_what_it_holds(store):
    newest = max(path.stat().st_mtime for path in store.files(f"vectors/{KEY}"))
    merge_vectors(store, lambda: True)
    [merged] = store.files(f"vectors/{KEY}")
    assert merged.stat().st_mtime == pytest.approx(newest)


def test_nothing_is_merged_while_somebody_is_at_work(store):
    before = store.files(f"vectors/{KEY}")
    assert merge_vectors(store, lambda: False) == 0
    assert store.files(f"vectors/{KEY}") == before


def test_whoever_comes_in_the_middle_keeps_what_was_listed(store):
    before, known_before = store.files(f"vectors/{KEY}"), known(store)
    answers = iter([True, False])
    assert merge_vectors(store, lambda: next(answers)) == 0
    assert set(before) < set(store.files(f"vectors/{KEY}"))
    index = vector_index(store, KEY)
    files = index.find(index.hashes)["file"].cast(pl.String)
    assert files.str.contains("merged-").all()  # who begins now reads that alone
    assert known(store) == known_before
    assert merge_vectors(store, lambda: True) == FEWEST_FILES + 1
    assert known(store) == known_before


def test_files_that_vanish_while_they_are_listed(store, monkeypatch):
    before = known(store)
    _hashes.cache_clear()  # as another process would find it
    real, happened = pq.read_table, []

    def late(*arguments, **options):
        if not happened:
            happened.append(merge_vectors(store, lambda: True))
        return real(*arguments, **options)

    monkeypatch.setattr(pq, "read_table", late)
    assert known(store) == before
    assert happened == [FEWEST_FILES]


def test_the_lease_of_the_upkeep_itself_survives(tmp_path):
    with hold_lease(tmp_path, "maintain-1", "notes", "maintain") as held:
        expire(tmp_path, 0, [])
        held.check()
