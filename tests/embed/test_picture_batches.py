"""Pictures ahead of the model: in order, bounded, and let go when nobody wants them any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.identity import digest_bytes
from schemas.reasons import Reason
from tasks.embed import picture_batches as module
from tasks.embed.picture_batches import picture_batches

PICTURES = 20


@pytest.fixture
def contents(picture: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Twenty pictures, each of a grey of its own, and how many have been read."""
    made = [picture(f"#{10 * i:02x}{10 * i:02x}{10 * i:02x}") for i in range(PICTURES)]

    def read(uris: list[str], locators: list[str | None], options: Any) -> Iterator[bytes]:
        for uri in uris:
            read_so_far.append(uri)
            yield made[int(uri)]

    read_so_far.clear()
    monkeypatch.setattr(module, "read_images", read)
    return made


read_so_far: list[str] = []


def places(contents: list[bytes]) -> pa.Table:
    hashes = pa.array([digest_bytes(content) for content in contents], pa.binary(16))
    uris = [str(i) for i in range(len(contents))]
    nothing = pa.nulls(len(contents), pa.string())
    return pa.table({"content_hash": hashes, "uri": uris, "locator": nothing})


def test_batches_come_in_order_and_hold_every_picture(fake: Any, contents: list[bytes]) -> None:
    rows = np.arange(100, 100 + PICTURES)
    batches = list(picture_batches(places(contents), rows, fake, {}))
    assert [len(batch.rows) for batch in batches] == [3] * 6 + [2]
    np.testing.assert_array_equal(np.concatenate([batch.rows for batch in batches]), rows)
    greys = np.concatenate([batch.pixels[:, 0, 0, 0] for batch in batches])
    np.testing.assert_array_equal(greys, np.arange(PICTURES) * 10)


def test_only_some_batches_are_read_ahead(fake: Any, contents: list[bytes]) -> None:
    fake.in_flight = 2
    batches = picture_batches(places(contents), np.arange(PICTURES), fake, {})
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    # One batch given, one made behind it, and twice three more under way.
    assert 3 <= len(read_so_far) <= 12


def test_files_that_wait_for_a_decoder_hold_the_reader_back(
    fake: Any, contents: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.in_flight = 3
    monkeypatch.setattr(module, "BYTES_AHEAD", len(contents[0]) * 3 // 2)
    go_on, prepare = threading.Event(), fake.prepare_bytes

    def waits(content: bytes) -> np.ndarray:
        assert go_on.wait(30)
        return prepare(content)

    monkeypatch.setattr(fake, "prepare_bytes", waits)
    batches = picture_batches(places(contents), np.arange(PICTURES), fake, {})
    threading.Timer(0.5, lambda: (seen.append(len(read_so_far)), go_on.set())).start()
    seen: list[int] = []
    assert sum(len(batch.rows) for batch in batches) == PICTURES
    assert seen[0] <= 2


def test_what_cannot_be_used_is_told_and_the_others_stay(fake: Any, contents: list[bytes]) -> None:
    table = places(contents)
    contents[4] = b"changed"
    contents[5] += b"longer"
    found = list(picture_batches(table, np.arange(PICTURES), fake, {}))
    failures = {row: why for batch in found for row, why in batch.failures.items()}
    assert {row: reason for row, (reason, _) in failures.items()} == {
        4: Reason.SOURCE_CHANGED,
        5: Reason.SOURCE_CHANGED,
    }
    assert sum(len(batch.rows) for batch in found) == PICTURES - 2


def test_an_error_of_the_reader_reaches_the_caller(
    fake: Any, contents: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Iterator[bytes]:
        yield contents[0]
        raise PermissionError("no access")

    monkeypatch.setattr(module, "read_images", broken)
    with pytest.raises(PermissionError, match="no access"):
        list(picture_batches(places(contents), np.arange(PICTURES), fake, {}))
