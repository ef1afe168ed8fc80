"""Hashes as arrays: sorted as their bytes are, and compared without an object for each."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.store.hashes import hash_values, prefixes, repeated, sorted_bytes

HASHES = st.lists(
    st.one_of(st.binary(min_size=16, max_size=16), st.just(bytes(16)), st.just(b"a" + bytes(15))),
    max_size=20,
)


@given(HASHES, st.integers(0, 3))
def test_any_hashes_are_sorted_as_bytes(hashes, skipped):
    array = pa.array(hashes, pa.binary(16)).slice(min(skipped, len(hashes)))
    assert sorted_bytes(array) == b"".join(sorted(array.to_pylist()))
    assert sorted_bytes(pa.chunked_array([array, array])) == b"".join(sorted(array.to_pylist() * 2))


@given(HASHES)
def test_a_hash_that_stands_twice_repeats_its_beginning(hashes):
    found = repeated(prefixes(hash_values(pa.array(hashes, pa.binary(16)))))
    twice = [hashes.count(each) > 1 for each in hashes]
    assert all(mark for mark, again in zip(found.tolist(), twice, strict=True) if again)
    assert found.tolist() == [[h[:8] for h in hashes].count(each[:8]) > 1 for each in hashes]


def test_nulls_and_other_types_are_refused():
    with pytest.raises(ValueError, match="hashes of 16 bytes are expected"):
        hash_values(pa.array([None], pa.binary(16)))
    with pytest.raises(ValueError, match="got binary"):
        hash_values(pa.array([hashlib.md5(b"").digest()], pa.binary()))


def test_no_hashes():
    assert len(hash_values(pa.array([], pa.binary(16)))) == 0
    assert len(repeated(np.empty(0, np.uint64))) == 0
