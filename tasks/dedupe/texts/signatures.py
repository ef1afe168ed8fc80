"""Signatures of texts in the `workdir`, found by text: whichever file a text stood in, it is signed
once.

    text-hashes/<digest>.parquet    row, text: the hash of each text of a records file
    signatures/<rules>/*.arrow      text, signature, compared: each text that no file had before

The second are mapped into memory: of a million texts those are looked at that may resemble another.
So they lie there in the form in which they are compared, as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit

from schemas.identity import HASH_BYTES, RULES_VERSION, digest_bytes, digest_json
from tasks.dedupe.texts.minhash import (
    PERMUTATIONS,
    SIGNATURE_VERSION,
    sign_compared,
    text_hashes,
)
from tasks.dedupe.texts.text_arrays import COMPARED_VERSION, Texts, compared, text_buffers
from tasks.store.batches import read_batches
from tasks.store.workdir import ROWS_PER_GROUP, Store, mark_used

TEXT_HASHES = "text-hashes"
SIGNATURES = "signatures"
SUFFIX = ".arrow"

RULES = f"text-{RULES_VERSION}.{COMPARED_VERSION}.{SIGNATURE_VERSION}-polars-{pl.__version__}"
"""What decides what a text's signature is; Unicode's tables come with Polars."""

SCHEMA = pa.schema(
    [
        pa.field("text", pa.binary(HASH_BYTES), nullable=False),
        pa.field("signature", pa.binary(PERMUTATIONS), nullable=False),
        pa.field("compared", pa.large_binary(), nullable=False),
    ]
)

FILE_BYTES = 64 << 20
"""Bytes of compared texts after which a file is closed: what is held of them while it is made."""


@dataclass(frozen=True)
class TextPart:
    """A file of records with texts: `path` has row, source, key, text, size and time."""

    digest: str
    source: str
    path: str
    records: int


def signatures_folder() -> str:
    """The folder, below the `workdir`, of the signatures that today's rules make."""
    return f"{SIGNATURES}/{RULES}"


def sign_part(part: TextPart, store: Store, *, anew: bool = False) -> str:
    """Hash the part's texts and sign those that no file has signed; return the hashes' path.

    A part whose hashes are there was signed, too; `anew`: some of its signatures are gone.
    """
    name = digest_json([TEXT_HASHES, RULES, part.digest])
    found = store.find(TEXT_HASHES, name)
    if found is not None and not anew:
        return str(found)
    known = SignatureIndex.of(store)
    rows: list[np.ndarray] = [np.empty(0, np.int64)]
    hashes: list[np.ndarray] = [np.empty((0, 2), np.uint64)]
    fresh = _Fresh(store)
    for batch in read_batches(part.path, ROWS_PER_GROUP, ["row", "text"]):
        texts = batch.column(1)
        named = text_hashes(texts)
        rows.append(batch.column(0).to_numpy())
        hashes.append(named)
        new = np.flatnonzero(known.places(named) < 0)
        if len(new) == len(texts):
            fresh.add(named, compared(texts))
        elif len(new):
            fresh.add(named[new], compared(texts.take(pa.array(new))))
    fresh.close()
    with store.create(TEXT_HASHES, name) as path:
        columns = {"row": pa.array(np.concatenate(rows)), "text": _binary(np.concatenate(hashes))}
        pq.write_table(pa.table(columns), path, compression="none", use_dictionary=False)
    return str(store.path(TEXT_HASHES, name))


class _Fresh:
    """Writes texts that were not signed before, some MB to a file."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: list[pa.RecordBatch] = []
        self._bytes = 0

    def add(self, hashes: np.ndarray, texts: Texts) -> None:
        """Sign the compared texts of those hashes."""
        signatures = sign_compared(texts)
        column = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), len(texts), [None, *map(pa.py_buffer, (texts.offsets, texts.data))]
        )
        columns = [_binary(hashes), _binary(signatures), column]
        self._held.append(pa.record_batch(columns, schema=SCHEMA))
        self._bytes += len(texts.data)
        if self._bytes >= FILE_BYTES:
            self.close()

    def close(self) -> None:
        """Write what is held. A file is named by the texts in it, in their order."""
        if self._held:
            write_signatures(self._store, pa.Table.from_batches(self._held))
        self._held, self._bytes = [], 0


def write_signatures(store: Store, table: pa.Table) -> Path:
    """Write a table of `SCHEMA` as a file of its own; returns its path."""
    name = digest_bytes(_words(table.column("text")).tobytes()).hex()
    with (
        store.create(signatures_folder(), name, SUFFIX) as path,
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_file(sink, SCHEMA) as writer,
    ):
        writer.write_table(table)
    return store.path(signatures_folder(), name, SUFFIX)


def read_hashes(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Row (int64 `(n)`) and hash (uint64 `(n, 2)`) of each text of a part, in file order."""
    table = pq.read_table(path)
    return table.column("row").to_numpy(), _words(table.column("text"))


class SignatureIndex:
    """All texts that the files of a `workdir` hold; each is known by its place, its number here."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._paths: list[str] = []  # of each batch
        for path in paths:
            reader = pa.ipc.open_file(pa.memory_map(path))
            some = [reader.get_batch(number) for number in range(reader.num_record_batches)]
            self._batches += some
            self._paths += [path] * len(some)
        sizes = [batch.num_rows for batch in self._batches]
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
        self.hashes = np.empty((int(self._starts[-1]), 2), np.uint64)
        for batch, start in zip(self._batches, self._starts[:-1], strict=True):
            self.hashes[start : start + batch.num_rows] = _words(batch.column(0))
        self._table = np.full(1 << max(4, (2 * len(self)).bit_length()), -1, np.int64)
        _put(self._table, self.hashes)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @staticmethod
    def of(store: Store) -> SignatureIndex:
        """The index of what the files hold by now."""
        return _index(tuple(store.file_names(signatures_folder(), SUFFIX)))

    def places(self, hashes: np.ndarray) -> np.ndarray:
        """The place of each text, −1 for one that was never signed: int64 `(n)`."""
        return _find(self._table, self.hashes, np.ascontiguousarray(hashes))

    def signatures(self, places: np.ndarray) -> np.ndarray:
        """The signatures at ascending places: uint8 `(n, 128)`. Marks their files as used."""
        out = np.empty((len(places), PERMUTATIONS), np.uint8)
        borders = np.searchsorted(places, self._starts)
        for number, batch in enumerate(self._batches):
            begin, end = borders[number], borders[number + 1]
            if begin < end:
                mark_used(Path(self._paths[number]))
                data = np.frombuffer(batch.column(1).buffers()[1], np.uint8)
                held = data.reshape(-1, PERMUTATIONS)
                out[begin:end] = held[places[begin:end] - self._starts[number]]
        return out

    def texts(self, places: np.ndarray) -> Texts:
        """The compared texts at those places, in their order."""
        order = np.argsort(places, kind="stable")
        ascending = places[order]
        borders = np.searchsorted(ascending, self._starts)
        sizes = np.empty(len(places), np.int64)
        for number, (begin, end) in enumerate(pairwise(borders)):
            if begin < end:
                held = text_buffers(self._batches[number].column(2))
                rows = ascending[begin:end] - self._starts[number]
                sizes[order[begin:end]] = held.offsets[rows + 1] - held.offsets[rows]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        data = np.empty(int(offsets[-1]), np.uint8)
        for number, (begin, end) in enumerate(pairwise(borders)):
            if begin < end:
                held = text_buffers(self._batches[number].column(2))
                rows = ascending[begin:end] - self._starts[number]
                _copy(held.data, held.offsets, rows, data, offsets, order[begin:end])
        return Texts(data, offsets)


@lru_cache(1)
def _index(paths: tuple[str, ...]) -> SignatureIndex:
    return SignatureIndex(paths)


def release_signatures() -> None:
    """Let go of the files: nobody looks for their texts any more."""
    _index.cache_clear()


@njit(cache=True, nogil=True)
def _put(table, hashes):  # type: ignore[no-untyped-def]  # compiled
    """Fill an open hash table with the number of each hash, the first one of equals."""
    mask = np.uint64(len(table) - 1)
    for at in range(len(hashes)):
        slot = hashes[at, 0] & mask
        while table[slot] >= 0:
            held = table[slot]
            if hashes[held, 0] == hashes[at, 0] and hashes[held, 1] == hashes[at, 1]:
                break
            slot = (slot + np.uint64(1)) & mask
        if table[slot] < 0:
            table[slot] = at


@njit(cache=True, nogil=True)
def _find(table, hashes, wanted):  # type: ignore[no-untyped-def]  # compiled
    mask = np.uint64(len(table) - 1)
    found = np.full(len(wanted), -1, np.int64)
    for at in range(len(wanted)):
        slot = wanted[at, 0] & mask
        while table[slot] >= 0:
            held = table[slot]
            if hashes[held, 0] == wanted[at, 0] and hashes[held, 1] == wanted[at, 1]:
                found[at] = held
                break
            slot = (slot + np.uint64(1)) & mask
    return found


@njit(cache=True, nogil=True)
def _copy(data, offsets, rows, out, places, numbers):  # type: ignore[no-untyped-def]  # compiled
    """Copy text `rows[i]` to where text `numbers[i]` belongs."""
    for at in range(len(rows)):
        start, place = offsets[rows[at]], places[numbers[at]]
        for k in range(offsets[rows[at] + 1] - start):
            out[place + k] = data[start + k]


def _binary(values: np.ndarray) -> pa.Array:
    """Rows of numbers as fixed binary."""
    rows = np.ascontiguousarray(values)
    kind = pa.binary(rows.itemsize * rows.shape[1])
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, pa.py_buffer(rows)])


def _words(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Fixed binary 16 as uint64 `(n, 2)`."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not len(array):
        return np.empty((0, 2), np.uint64)
    data = np.frombuffer(array.buffers()[1], np.uint64).reshape(-1, 2)
    return data[array.offset : array.offset + len(array)]
