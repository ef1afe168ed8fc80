"""Arrays travel beside their object, whole and unchanged, and an end in between is told."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing.connection import Connection, Pipe
from threading import Thread
from typing import Any

import numpy as np
import pytest

from tasks.processes.messages import SMALLEST_APART, Message, receive, send

Ends = tuple[Connection, Connection]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = Pipe()
    yield ours, theirs
    ours.close()
    theirs.close()


def through(ends: Ends, *contents: Any) -> list[Any]:
    def send_all() -> None:
        for content in contents:
            send(ends[1], Message.of(content))

    sender = Thread(target=send_all)
    sender.start()
    received = [receive(ends[0]) for _ in contents]
    sender.join()
    return received


def test_large_arrays_travel_beside_their_object_and_small_ones_in_it(ends: Ends) -> None:
    large = np.arange(SMALLEST_APART, dtype=np.int32).reshape(4, -1)
    small = np.arange(5)
    content = {"large": large, "small": small, "again": large[:, ::2], "other": [large + 1, "é"]}
    message = Message.of(content)
    assert [array.nbytes for array in message.arrays] == [large.nbytes] * 2
    assert len(message.head) < large.nbytes

    first, (second, word) = through(ends, content, (large, "after"))
    for name in ("large", "small", "again"):
        np.testing.assert_array_equal(first[name], content[name])
    np.testing.assert_array_equal(first["other"][0], large + 1)
    assert (first["other"][1], word) == ("é", "after")
    np.testing.assert_array_equal(second, large)
    second[0] = 0  # it is the receiver's own


def test_an_array_as_long_as_no_buffer_comes_whole(ends: Ends) -> None:
    array = np.random.default_rng(0).integers(0, 256, 5 << 20, np.uint8)
    np.testing.assert_array_equal(through(ends, array)[0], array)


@pytest.mark.parametrize("sent", ["nothing", "a part of the head", "a part of the array"])
def test_an_end_in_the_middle_is_told(ends: Ends, sent: str) -> None:
    message = Message.of(np.zeros(SMALLEST_APART, np.uint8))
    if sent == "a part of the head":
        with open(ends[1].fileno(), "wb", closefd=False) as raw:
            raw.write((1_000).to_bytes(4, "big") + message.head[:20])
    elif sent == "a part of the array":
        ends[1].send_bytes(message.head)
        with open(ends[1].fileno(), "wb", closefd=False) as raw:
            raw.write(b"0" * 1_000)
    ends[1].close()
    with pytest.raises(EOFError):
        receive(ends[0])
