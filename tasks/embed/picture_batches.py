"""Pictures read, checked, decoded and prepared ahead of the model.

    read_images ─ hash as planned? ─ decode pool: upright RGB → resized pixels ─ batches

Reading and decoding run in threads while the model computes; decoders and resizers leave Python's
lock, so threads serve as well as processes would. What stands in memory is bounded: prepared pixels
of a few batches, `BYTES_AHEAD` of files, and a picture a thread at full size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from threading import Condition
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.identity import digest_bytes
from schemas.reasons import Reason
from tasks.embedders.batching import stack_pixels
from tasks.embedders.protocol import Embedder
from tasks.processes.cores import usable_cores
from tasks.store.image_bytes import KEPT, read_images
from tasks.store.pictures import PictureError

MOST_DECODE_THREADS = 16
"""Each may hold a picture of 16 megapixels, 50 MB. Sixteen decode what one GPU can embed."""

BYTES_AHEAD = 64 << 20
"""Bytes of files that are read and not yet decoded: a thousand photographs, or one huge file."""

Failure = tuple[Reason, str]


@dataclass(frozen=True)
class PictureBatch:
    """Prepared pictures: `pixels` `[len(rows), 3, h, w]`; the others with what is wrong."""

    rows: np.ndarray  # int64, ascending
    pixels: np.ndarray | None  # None when none of the batch is usable
    failures: dict[int, Failure]


def picture_batches(
    places: pa.Table, rows: np.ndarray, embedder: Embedder, storage_options: dict[str, Any]
) -> Iterator[PictureBatch]:
    """The pictures at `places` (columns content_hash, uri, locator), by batch; `rows` number them.

    `storage_options` are values. The next batch is made in the background while the caller uses the
    last one, and the pictures of the batches that the embedder has under way are decoded behind it.
    """
    with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(decode_threads()) as pool:
        batches = _batches(places, rows, embedder, storage_options, pool)
        with closing(batches):
            following = ahead.submit(next, batches, None)
            try:
                while (batch := following.result()) is not None:
                    following = ahead.submit(next, batches, None)
                    yield batch
            finally:
                following.exception()  # a generator that runs cannot be closed: wait for it


def decode_threads() -> int:
    """One for each core that this process may use; more would only hold more pictures in memory."""
    return min(MOST_DECODE_THREADS, usable_cores())


def _batches(
    places: pa.Table,
    rows: np.ndarray,
    embedder: Embedder,
    storage_options: dict[str, Any],
    pool: ThreadPoolExecutor,
) -> Generator[PictureBatch, None, None]:
    uris, locators = (places.column(name).to_pylist() for name in ("uri", "locator"))
    contents = read_images(uris, locators, storage_options)
    hashes = places.column("content_hash").to_pylist()
    planned = zip(rows.tolist(), hashes, uris, locators, contents, strict=True)
    size = embedder.image_batch
    ahead: deque[tuple[int, Future]] = deque()
    held = _Held()
    try:
        for start in range(0, len(rows), size):
            for row, expected, uri, locator, content in islice(
                planned, size * (1 + embedder.in_flight) - len(ahead)
            ):
                future = pool.submit(_prepare, content, expected, uri, locator == KEPT, embedder)
                ahead.append((row, future))
                held.wait_for(future, len(content))
            yield _gathered([ahead.popleft() for _ in range(min(size, len(rows) - start))])
    finally:
        for _, future in ahead:
            future.cancel()


class _Held:
    """Counts the bytes of files that wait to be decoded, and keeps the reader waiting for them."""

    def __init__(self) -> None:
        self._bytes = 0
        self._changed = Condition()

    def wait_for(self, future: Future, size: int) -> None:
        """Count `size` until `future` is done; return when `BYTES_AHEAD` or less are held."""
        with self._changed:
            self._bytes += size
        future.add_done_callback(lambda _: self._release(size))
        with self._changed:
            self._changed.wait_for(lambda: self._bytes <= BYTES_AHEAD)

    def _release(self, size: int) -> None:
        with self._changed:
            self._bytes -= size
            self._changed.notify_all()


def _gathered(batch: list[tuple[int, Future]]) -> PictureBatch:
    pixels: list[np.ndarray] = []
    usable: list[int] = []
    failures: dict[int, Failure] = {}
    for row, future in batch:
        result = future.result()
        if isinstance(result, np.ndarray):
            pixels.append(result)
            usable.append(row)
        else:
            failures[row] = result
    return PictureBatch(
        np.asarray(usable, np.int64), stack_pixels(pixels) if pixels else None, failures
    )


def _prepare(
    content: bytes, expected: bytes, uri: str, kept: bool, embedder: Embedder
) -> np.ndarray | Failure:
    """The picture's pixels as the model takes them, or why there are none.

    `kept`: the picture is one of the published rows that stay without their file.
    """
    if digest_bytes(content) != expected and kept:
        return Reason.SOURCE_CHANGED, (
            f"the row was kept of a release, and its picture stands no more in {uri}; its vector "
            f"cannot be computed anew: put the file back, or build with the precision and engine "
            f"that the release has"
        )
    if digest_bytes(content) != expected:
        return Reason.SOURCE_CHANGED, (
            f"{uri} now gives {len(content)} bytes with another hash than when it was read; "
            f"build again, so that it is read anew"
        )
    try:
        return embedder.prepare_bytes(content)
    except PictureError as error:
        return Reason.EMBED_FAILED, f"{error.reason}: {error.detail}"
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  decoders raise anything for one bad picture
        return Reason.EMBED_FAILED, f"{type(error).__name__}: {error}"
