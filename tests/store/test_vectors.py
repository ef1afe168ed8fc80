"""Vectors are found by content hash, in whichever file they lie, and however their hashes begin."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.arrow import vectors_schema
from tasks.store import vectors as module
from tasks.store.hashes import hash_values
from tasks.store.vectors import known_contents, read_vectors, release_vectors, vector_index
from tasks.store.workdir import Store

KEY = "f00d-torch-fp32"
HASHES = [bytes([a] * 8 + [b] * 8) for a in (1, 2, 3) for b in (1, 2, 3)]
"""Several begin with the same eight bytes."""


def write(store: Store, name: str, hashes: list[bytes], value: float) -> None:
    schema = vectors_schema(2)
    flat = pa.array(np.full(2 * len(hashes), value, np.float32))
    columns = [pa.array(hashes, pa.binary(16)), pa.FixedSizeListArray.from_arrays(flat, 2)]
    with store.create(f"vectors/{KEY}", name) as path:
        pq.write_table(pa.table(columns, schema=schema), path)


def asked(hashes: list[bytes]) -> pa.Array:
    return pa.array(hashes, pa.binary(16))


FILES = st.lists(st.lists(st.sampled_from(HASHES), max_size=5, unique=True), max_size=4)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(files=FILES, wanted=st.lists(st.sampled_from(HASHES), max_size=8))
def test_any_hash_is_found_in_the_first_file_that_holds_it(tmp_path_factory, files, wanted):
    store = Store(str(tmp_path_factory.mktemp("work")))
    for number, hashes in enumerate(files):
        write(store, f"file{number}", hashes, number)
        known = known_contents(store, KEY, asked(wanted))  # file by file, as shards come
        held = [any(h in some for some in files[: number + 1]) for h in wanted]
        assert known.tolist() == held
    index = vector_index(store, KEY)
    places = index.find(hash_values(asked(wanted)))
    first = [next((n for n, some in enumerate(files) if h in some), None) for h in wanted]
    assert [f is None for f in places["file"].to_list()] == [n is None for n in first]
    found = places.drop_nulls()
    values = read_vectors(found, 2)[:, 0].tolist()
    assert values == [n for n in first if n is not None]
    release_vectors()


def test_without_any_file_nothing_is_known(tmp_path):
    store = Store(str(tmp_path))
    assert not known_contents(store, KEY, asked(HASHES)).any()
    assert vector_index(store, KEY).find(hash_values(asked(HASHES)))["file"].is_null().all()


def test_a_file_that_is_gone_is_not_known(tmp_path):
    store = Store(str(tmp_path))
    write(store, "a", HASHES[:2], 1)
    assert known_contents(store, KEY, asked(HASHES[:3])).tolist() == [True, True, False]
    store.path(f"vectors/{KEY}", "a").unlink()
    assert not known_contents(store, KEY, asked(HASHES[:3])).any()


@pytest.mark.parametrize("most", [0, 40, 10_000])
def test_files_held_are_bounded_by_their_bytes(tmp_path, monkeypatch, most):
    monkeypatch.setattr(module, "HELD_BYTES", most)
    release_vectors()
    store = Store(str(tmp_path))
    for number in range(3):
        write(store, f"file{number}", HASHES[3 * number : 3 * number + 3], number)
    index = vector_index(store, KEY)
    values = read_vectors(index.find(hash_values(asked(HASHES))), 2)
    assert values[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    held = module._HELD._files
    assert len(held) == {0: 1, 40: 1, 10_000: 3}[most]  # 24 bytes each
    release_vectors()
    assert not held
