"""Byte strings are found wherever they stand, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tasks.erase.byte_search
from tasks.erase.byte_search import ONE_BY_ONE, found_in

FEW = [b"patient-0815", b"absent"]
MANY = [*FEW, *(b"record-%04d" % n for n in range(200))]


@pytest.fixture
def search(tmp_path) -> Callable[[bytes, list[bytes]], set[bytes]]:
    def look(data: bytes, wanted: list[bytes]) -> set[bytes]:
        path = tmp_path / "file"
        path.write_bytes(data)
        return found_in(path, wanted)

    return look


@pytest.mark.parametrize("wanted", [FEW, MANY], ids=["few", "many"])
def test_bytes_across_blocks_are_found(search, monkeypatch, wanted):
    monkeypatch.setattr(tasks.erase.byte_search, "BLOCK", 8)
    for start in range(20):
        assert search(b"." * start + FEW[0] + b"." * 9, wanted) == {FEW[0]}
        assert search(b"." * start + FEW[0][:-1] + b"." * 9, wanted) == set()


def test_at_the_ends_and_in_an_empty_file(search):
    assert search(b"", MANY) == set()
    assert search(b"rec", MANY) == set()
    assert search(b"record-0007", MANY) == {b"record-0007"}
    assert search(b"record-0007record-0199", MANY) == {b"record-0007", b"record-0199"}
    assert search(b"anything", []) == set()


words = st.binary(min_size=6, max_size=9).map(lambda data: bytes(b % 3 for b in data))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    data=st.binary(max_size=200).map(lambda data: bytes(b % 3 for b in data)),
    wanted=st.sets(words, min_size=ONE_BY_ONE + 1, max_size=30),
)
def test_as_one_by_one(search, data, wanted):
    assert search(data, list(wanted)) == {each for each in wanted if each in data}
