"""Signatures of pictures in the `workdir`, found by content: whatever file a picture stands in.

    pictures (content, part, row) ─ known? ─ no → thumbnail, or the file ─ signature ─> vectors/…

They lie where vectors lie, under a key of their own: what finds, merges, expires and erases vectors
by content does the same for them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.arrow import HASH
from schemas.identity import digest_bytes
from tasks.dedupe.pictures.phash import SIGNATURE_BYTES, SIGNATURE_VERSION, levels, signatures
from tasks.processes.cores import usable_cores
from tasks.store.hashes import frame_hashes
from tasks.store.image_bytes import read_images
from tasks.store.pictures import DECODE_ERRORS, PictureError, picture_facts
from tasks.store.quiet_pillow import QUIET
from tasks.store.vectors import vector_index, vectors_folder
from tasks.store.workdir import ROWS_PER_GROUP, Store, mark_used

SIGNATURE_KEY = f"picture-signatures-{SIGNATURE_VERSION}"
"""Stands for a vector key."""

# As bytes: parquet stores a list of small numbers at four bytes each.
_SIGNED = pa.schema(
    [
        pa.field("content_hash", HASH, nullable=False),
        pa.field("vector", pa.binary(SIGNATURE_BYTES), nullable=False),
    ]
)

PICTURES_A_FILE = 16_384
"""22 MB of signatures, some seconds of a core: what a killed build makes again."""

GROUP, GROUP_BYTES = 64, 4 << 20
"""Pictures that a thread signs at once, fewer where there are no thumbnails and files are large."""

GROUPS_AHEAD = 32
"""Groups in memory: 8 MB of thumbnails, or 130 MB of files (and one file of any size)."""

_SEEN = ["content_hash", "uri", "locator", "thumbnail"]

ROWS_AT_ONCE = 1_024
"""Rows with thumbnails read at once: 4 MB."""


@dataclass(frozen=True)
class Signed:
    """The signatures (uint8 `[n, 1352]`) of some pictures, and which have one (bool `[n]`)."""

    values: np.ndarray
    usable: np.ndarray


def sign_pictures(
    pictures: pl.DataFrame, store: Store, options: dict[str, Any] | None = None
) -> Signed:
    """The signatures of pictures, each content once: found, or made and kept.

    `pictures` has content_hash, and where its row stands: part (path of a records or items file)
    and row (position in it). A row without a thumbnail has its file read once more; a file that
    holds another picture by now, or none, gives no signature. `options` are values of storage
    options. Raises `OSError` where a file cannot be reached.
    """
    index = vector_index(store, SIGNATURE_KEY)
    missing = pictures.filter(index.find(frame_hashes(pictures["content_hash"]))["file"].is_null())
    if missing.height:
        missing = missing.sort("part", "row")
        for begin in range(0, missing.height, PICTURES_A_FILE):
            _sign(missing.slice(begin, PICTURES_A_FILE), store, options or {})
        index = vector_index(store, SIGNATURE_KEY)
    return _read(index.find(frame_hashes(pictures["content_hash"])))


def _read(places: pl.DataFrame) -> Signed:
    """The signatures at `places` (columns file, at), zeros where they are null."""
    values = np.zeros((places.height, SIGNATURE_BYTES), np.uint8)
    known = places.with_row_index("out").drop_nulls()
    for (file,), rows in known.partition_by("file", as_dict=True).items():
        mark_used(Path(str(file)))
        out, at, begin = rows["out"].to_numpy(), rows["at"].to_numpy(), 0
        with pq.ParquetFile(str(file)) as held:
            for batch in held.iter_batches(ROWS_PER_GROUP, columns=["vector"]):
                signed = _bytes_of(batch.column(0))
                here = (at >= begin) & (at < begin + len(signed))
                values[out[here]] = signed[at[here] - begin]
                begin += len(signed)
    return Signed(values, places["file"].is_not_null().to_numpy())


def _bytes_of(column: pa.FixedSizeBinaryArray) -> np.ndarray:
    """What a column of fixed size without nulls holds, uint8 `[n, size]`: a view."""
    size = column.type.byte_width
    held = np.frombuffer(column.buffers()[1], np.uint8)
    return held[column.offset * size :][: len(column) * size].reshape(-1, size)


class _Picture(NamedTuple):
    """A picture whose signature is wanted: its thumbnail, or else the bytes of its file."""

    content: bytes  # its hash
    thumbnail: bytes | None
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data if self.thumbnail is None else self.thumbnail)


def _sign(pictures: pl.DataFrame, store: Store, options: dict[str, Any]) -> None:
    """Make and keep the signatures of pictures (content_hash, part, row) in the order of places."""
    contents: list[bytes] = []
    values: list[np.ndarray] = []
    with ThreadPoolExecutor(usable_cores(), "pictures-signed") as pool, ExitStack() as held:
        found = held.enter_context(closing(_pictures(pictures, options)))
        while ahead := list(islice(_groups(found), GROUPS_AHEAD)):
            for group, made in zip(ahead, pool.map(_levels_of, ahead), strict=True):
                for picture, seen in zip(group, made, strict=True):
                    if seen is not None:
                        contents.append(picture.content)
                        values.append(seen)
    if contents:
        keep_signatures(contents, signatures(np.stack(values)), store)


def _groups(pictures: Iterator[_Picture]) -> Iterator[list[_Picture]]:
    """A few pictures at a time, fewer where they are large."""
    group: list[_Picture] = []
    for picture in pictures:
        group.append(picture)
        if len(group) == GROUP or sum(each.size for each in group) >= GROUP_BYTES:
            yield group
            group = []
    if group:
        yield group


def _pictures(pictures: pl.DataFrame, options: dict[str, Any]) -> Generator[_Picture, None, None]:
    """Each picture with what its row holds, by part; files are read for those without thumbnail."""
    for (part,), rows in pictures.partition_by("part", as_dict=True, maintain_order=True).items():
        for table in _rows_at(str(part), rows["row"].to_numpy()):
            thumbnails = table.column("thumbnail").to_pylist()
            bare = table.filter(table.column("thumbnail").is_null())
            uris, locators = (bare.column(name).to_pylist() for name in ("uri", "locator"))
            with closing(cast(Generator, read_images(uris, locators, options))) as files:
                contents = table.column("content_hash").to_pylist()
                for content, thumbnail in zip(contents, thumbnails, strict=True):
                    data = next(files) if thumbnail is None else b""
                    yield _Picture(content, thumbnail, data)


def _rows_at(path: str, rows: np.ndarray) -> Iterator[pa.RecordBatch]:
    """The rows at ascending positions of a file, some at a time; groups without are not read."""
    begin = 0
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            here = rows[slice(*np.searchsorted(rows, [begin, begin + count]))] - begin
            begin += count
            if not len(here):
                continue
            first = 0
            for batch in file.iter_batches(ROWS_AT_ONCE, [group], _SEEN):
                wanted = here[slice(*np.searchsorted(here, [first, first + batch.num_rows]))]
                if len(wanted):
                    yield batch.take(pa.array(wanted - first))
                first += batch.num_rows


def _levels_of(group: list[_Picture]) -> list[np.ndarray | None]:
    return [_levels(picture) for picture in group]


def _levels(picture: _Picture) -> np.ndarray | None:
    """The picture's levels, None where the file holds no such picture any more."""
    thumbnail = picture.thumbnail
    try:
        if thumbnail is None:
            if digest_bytes(picture.data) != picture.content:
                return None
            thumbnail = picture_facts(picture.data, thumbnails=True).thumbnail
            assert thumbnail is not None
        with QUIET:
            return levels(thumbnail)
    except (PictureError, *DECODE_ERRORS):
        return None


def keep_signatures(contents: list[bytes], signed: np.ndarray, store: Store) -> None:
    """Keep the signatures (uint8 `[n, 1352]`) of distinct contents, in any order."""
    order = sorted(range(len(contents)), key=contents.__getitem__)
    named = [contents[at] for at in order]
    flat = pa.py_buffer(np.ascontiguousarray(signed[order]))
    values = pa.Array.from_buffers(pa.binary(SIGNATURE_BYTES), len(order), [None, flat])
    table = pa.Table.from_arrays([pa.array(named, HASH), values], schema=_SIGNED)
    name = digest_bytes(b"".join(named)).hex()
    with store.create(vectors_folder(SIGNATURE_KEY), name) as path:
        options = {"compression": "none", "use_dictionary": False}
        pq.write_table(table, path, row_group_size=ROWS_PER_GROUP, **options)
