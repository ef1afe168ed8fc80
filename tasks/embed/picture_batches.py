"""Pictures read, checked, decoded and prepared ahead of the model.

    read_images ─ groups ─ decoders: hash as planned? ─ upright RGB → resized pixels ─ batches

Reading, decoding and stacking run in threads while the model computes, and beside an accelerator
the decoding in processes (`decoders.py`). What stands in memory is bounded: prepared pixels of a
few batches, `BYTES_AHEAD` of files, and a picture a decoder at full size.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from queue import SimpleQueue
from threading import Condition
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.embed.decoders import Decoders, Prepared, decoders
from tasks.embed.prepare_picture import Failure, Picture
from tasks.embedders.batching import stack_pixels
from tasks.embedders.protocol import Embedder
from tasks.store.image_bytes import KEPT, read_images

BYTES_AHEAD = 64 << 20
"""Bytes of files that are read and not yet decoded: a thousand photographs, or one huge file."""

GROUP_BYTES = 4 << 20
"""Bytes of files after which a decoder's group is full: large ones are shared out, too."""


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
    who = decoders(embedder, len(rows))
    size = embedder.image_batch
    with (
        ThreadPoolExecutor(1, "pictures-stacked") as stacking,
        ThreadPoolExecutor(1, "pictures-read") as reading,
        ThreadPoolExecutor(who.threads, "pictures-decoded") as pool,
    ):
        ahead = _Ahead(who, pool, size * embedder.in_flight)
        reading.submit(ahead.read, _pictures(places, storage_options))
        batches = (ahead.batch(rows[i : i + size]) for i in range(0, len(rows), size))
        following = stacking.submit(next, batches, None)
        try:
            while (batch := following.result()) is not None:
                following = stacking.submit(next, batches, None)
                yield batch
        finally:
            ahead.stop()


def _pictures(places: pa.Table, storage_options: dict[str, Any]) -> Generator[Picture, None, None]:
    uris, locators = (places.column(name).to_pylist() for name in ("uri", "locator"))
    hashes = places.column("content_hash").to_pylist()
    contents = read_images(uris, locators, storage_options)
    for content, expected, uri, locator in zip(contents, hashes, uris, locators, strict=True):
        yield Picture(content, expected, uri, locator == KEPT)


class _Ahead:
    """Up to `most` pictures that are read, decoded and not yet stacked, in the order given."""

    def __init__(self, who: Decoders, pool: ThreadPoolExecutor, most: int) -> None:
        self._who, self._pool = who, pool
        self._places, self._bytes = _Room(most), _Room(BYTES_AHEAD)
        self._groups: SimpleQueue[Future[Prepared]] = SimpleQueue()
        self._results = self._in_order()

    def read(self, pictures: Generator[Picture, None, None]) -> None:
        """Give group after group to the decoders; what reading raises is raised by `batch`."""
        last: Future[Prepared] = Future()
        try:
            with closing(pictures):
                while group := self._group(pictures):
                    size = sum(len(picture.content) for picture in group)
                    self._bytes.take(size)
                    future = self._pool.submit(self._who.prepare, group)
                    future.add_done_callback(partial(self._decoded, size))
                    self._groups.put(future)
        except BaseException as error:  # noqa: BLE001  who waits for a batch must hear of anything
            last.set_exception(error)
            self._groups.put(last)

    def batch(self, rows: np.ndarray) -> PictureBatch:
        """The next pictures, which have these row numbers."""
        results = list(zip(rows.tolist(), islice(self._results, len(rows)), strict=True))
        pixels = [result for _, result in results if isinstance(result, np.ndarray)]
        failures = {row: why for row, why in results if not isinstance(why, np.ndarray)}
        usable = np.asarray([row for row in rows.tolist() if row not in failures], np.int64)
        batch = PictureBatch(usable, stack_pixels(pixels) if pixels else None, failures)
        self._places.give(len(rows))
        return batch

    def stop(self) -> None:
        """Read no more, and decode nothing that has not begun."""
        self._places.close()
        self._bytes.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _group(self, pictures: Iterator[Picture]) -> list[Picture]:
        """The next pictures for one decoder, fewer where there is no room for more."""
        group: list[Picture] = []
        left = GROUP_BYTES
        while len(group) < self._who.group and left > 0 and self._places.take(1, wait=not group):
            picture = next(pictures, None)
            if picture is None:
                break
            group.append(picture)
            left -= len(picture.content)
        return group

    def _decoded(self, size: int, _: Future[Prepared]) -> None:
        self._bytes.give(size)

    def _in_order(self) -> Iterator[np.ndarray | Failure]:
        while True:
            yield from self._groups.get().result()


class _Room:
    """Counts what is held, and keeps whoever wants more waiting."""

    def __init__(self, most: int) -> None:
        self._most, self._held, self._closed = most, 0, False
        self._changed = Condition()

    def take(self, amount: int, wait: bool = True) -> bool:
        """Hold `amount` more, when that is no more than `most` or all; False where none waits.

        Raises `_Stopped` when the room is closed.
        """
        with self._changed:
            while not self._closed and self._held and self._held + amount > self._most:
                if not wait:
                    return False
                self._changed.wait()
            if self._closed:
                raise _Stopped
            self._held += amount
            return True

    def give(self, amount: int) -> None:
        """Hold `amount` less."""
        with self._changed:
            self._held -= amount
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class _Stopped(Exception):
    """Nobody wants the pictures any more."""
