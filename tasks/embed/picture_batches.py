"""Pictures read, checked, decoded and prepared a batch ahead of the model.

    read_images ─ hash as planned? ─ decode pool: upright RGB → resized pixels ─ batches

Reading and decoding run in threads while the model computes. Only prepared pixels are kept: at most
`DECODE_THREADS` pictures stand in memory at full size, whatever the batch.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.identity import digest_bytes
from schemas.reasons import Reason
from tasks.embedders.protocol import Embedder
from tasks.store.image_bytes import KEPT, read_images
from tasks.store.pictures import PictureError, open_picture

DECODE_THREADS = min(8, max(2, os.cpu_count() or 2))
"""Decoding releases the GIL; more threads than cores would only hold more pictures in memory."""

Failure = tuple[Reason, str]


@dataclass(frozen=True)
class PictureBatch:
    """Prepared pictures: `pixels` float32 `[len(rows), 3, h, w]`; the others with what is wrong."""

    rows: np.ndarray  # int64, ascending
    pixels: np.ndarray | None  # None when none of the batch is usable
    failures: dict[int, Failure]


def picture_batches(
    places: pa.Table, rows: np.ndarray, embedder: Embedder, storage_options: dict[str, Any]
) -> Iterator[PictureBatch]:
    """The pictures at `places` (columns content_hash, uri, locator), by batch; `rows` number them.

    `storage_options` are values. The next batch is made in the background while the caller uses the
    last one.
    """
    with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(DECODE_THREADS) as pool:
        batches = _batches(places, rows, embedder, storage_options, pool)
        with closing(batches):
            following = ahead.submit(next, batches, None)
            try:
                while (batch := following.result()) is not None:
                    following = ahead.submit(next, batches, None)
                    yield batch
            finally:
                following.exception()  # a generator that runs cannot be closed: wait for it


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
    planned = zip(hashes, uris, locators, contents, strict=True)
    for start in range(0, len(rows), embedder.image_batch):
        batch = rows[start : start + embedder.image_batch]
        futures = [
            pool.submit(_prepare, content, expected, uri, locator == KEPT, embedder)
            for expected, uri, locator, content in islice(planned, len(batch))
        ]
        yield _gathered(batch, futures)


def _gathered(rows: np.ndarray, futures: list[Future]) -> PictureBatch:
    pixels: list[np.ndarray] = []
    usable: list[int] = []
    failures: dict[int, Failure] = {}
    for row, future in zip(rows.tolist(), futures, strict=True):
        result = future.result()
        if isinstance(result, np.ndarray):
            pixels.append(result)
            usable.append(row)
        else:
            failures[row] = result
    return PictureBatch(
        np.asarray(usable, np.int64), np.stack(pixels) if pixels else None, failures
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
        return embedder.prepare_image(open_picture(content))
    except PictureError as error:
        return Reason.EMBED_FAILED, f"{error.reason}: {error.detail}"
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  decoders raise anything for one bad picture
        return Reason.EMBED_FAILED, f"{type(error).__name__}: {error}"
