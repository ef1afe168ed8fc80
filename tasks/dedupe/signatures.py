"""Signatures of texts in the `workdir`, found by text: whichever file a text stood in, it is signed
once.

    text-hashes/<digest>.parquet    row, text: the hash of each text of a records file
    signatures/<rules>/*.parquet    text, signature: each text that was not signed before, sorted
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.identity import RULES_VERSION, digest_bytes, digest_json
from schemas.progress import SILENT, Progress
from tasks.dedupe.minhash import (
    PERMUTATIONS,
    SIGNATURE_VERSION,
    sign_texts,
    text_hashes,
)
from tasks.dedupe.text_arrays import COMPARED_VERSION
from tasks.store.batches import read_batches
from tasks.store.workdir import ROWS_PER_GROUP, Store, mark_used

TEXT_HASHES = "text-hashes"
SIGNATURES = "signatures"

RULES = f"text-{RULES_VERSION}.{COMPARED_VERSION}.{SIGNATURE_VERSION}-polars-{pl.__version__}"
"""What decides what a text's signature is; Unicode's tables come with Polars."""

_NAME = pa.binary(16)
_SIGNATURE = pa.binary(PERMUTATIONS)


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


def sign_part(part: TextPart, store: Store, progress: Progress = SILENT) -> str:
    """Hash the part's texts and sign those that no file has signed; return the hashes' path."""
    name = digest_json([TEXT_HASHES, RULES, part.digest])
    found = store.find(TEXT_HASHES, name)
    known = SignatureIndex.of(store)
    if found is not None and known.holds(read_hashes(str(found))[1]):
        progress.advance(part.records)
        return str(found)
    rows: list[np.ndarray] = [np.empty(0, np.int64)]
    hashes: list[np.ndarray] = [np.empty((0, 2), np.uint64)]
    fresh: list[tuple[np.ndarray, np.ndarray]] = []
    for batch in read_batches(part.path, ROWS_PER_GROUP, ["row", "text"]):
        texts = batch.column(1)
        named = text_hashes(texts)
        rows.append(batch.column(0).to_numpy())
        hashes.append(named)
        new = np.flatnonzero(known.places(named) < 0)
        if len(new):
            fresh.append((named[new], sign_texts(texts.take(pa.array(new)))))
        progress.advance(batch.num_rows)
    if fresh:
        _keep(store, *(np.concatenate(each) for each in zip(*fresh, strict=True)))
    with store.create(TEXT_HASHES, name) as path:
        columns = {"row": pa.array(np.concatenate(rows)), "text": _binary(np.concatenate(hashes))}
        pq.write_table(pa.table(columns), path, compression="none", use_dictionary=False)
    return str(store.path(TEXT_HASHES, name))


def read_hashes(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Row (int64 `(n)`) and hash (uint64 `(n, 2)`) of each text of a part, in file order."""
    table = pq.read_table(path)
    return table.column("row").to_numpy(), _words(table.column("text"))


class SignatureIndex:
    """Where the signature of each known text is: all that the files of a `workdir` hold."""

    def __init__(self, paths: Sequence[str]) -> None:
        files = [_hashes(path) for path in paths]
        self._paths = list(paths)
        self._sizes = [len(each) for each in files]
        self.hashes = np.concatenate([np.empty((0, 2), np.uint64), *files])
        self._order = np.argsort(self.hashes[:, 0], kind="stable")
        self._first = self.hashes[self._order, 0]

    @staticmethod
    def of(store: Store) -> SignatureIndex:
        """The index of what the files hold by now."""
        return _index(tuple(store.file_names(signatures_folder())))

    def places(self, hashes: np.ndarray) -> np.ndarray:
        """The number of each text's signature, −1 for one that was never signed: int64 `(n)`.

        Whose first 64 bits alone are the same (once in 10^19 pairs) is taken for unknown.
        """
        found = np.full(len(hashes), -1, np.int64)
        if len(self._first) and len(hashes):
            at = np.minimum(np.searchsorted(self._first, hashes[:, 0]), len(self._first) - 1)
            place = self._order[at]
            same = (self.hashes[place] == hashes).all(axis=1)
            found[same] = place[same]
        return found

    def holds(self, hashes: np.ndarray) -> bool:
        """Whether each of the texts was signed."""
        return bool((self.places(hashes) >= 0).all())

    def signatures(self, places: np.ndarray) -> np.ndarray:
        """The signatures at those places: uint8 `(n, 128)`."""
        out = np.empty((len(places), PERMUTATIONS), np.uint8)
        start = 0
        for path, size in zip(self._paths, self._sizes, strict=True):
            here = np.flatnonzero((places >= start) & (places < start + size))
            if len(here):
                mark_used(Path(path))
                column = pq.read_table(path, columns=["signature"]).column(0).combine_chunks()
                held = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, PERMUTATIONS)
                out[here] = held[column.offset :][places[here] - start]
            start += size
        return out


@lru_cache(1)
def _index(paths: tuple[str, ...]) -> SignatureIndex:
    return SignatureIndex(paths)


@lru_cache(None)
def _hashes(path: str) -> np.ndarray:
    """A file's hashes, kept for good: its name says which they are. 16 MB a million."""
    return _words(pq.read_table(path, columns=["text"]).column(0))


def release_signatures() -> None:
    """Let go of what is held of the files."""
    _index.cache_clear()
    _hashes.cache_clear()


def _keep(store: Store, hashes: np.ndarray, signatures: np.ndarray) -> None:
    """Write signatures as one file, each once, in the order of their hashes."""
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    hashes = hashes[order]
    again = np.zeros(len(hashes), bool)
    again[1:] = (hashes[1:] == hashes[:-1]).all(axis=1)
    hashes, signatures = hashes[~again], signatures[order[~again]]
    name = digest_bytes(hashes.tobytes()).hex()
    columns = {"text": _binary(hashes), "signature": _binary(signatures)}
    with store.create(signatures_folder(), name) as path:
        table = pa.table(columns)
        pq.write_table(
            table, path, compression="none", use_dictionary=False, write_statistics=False
        )


def _binary(values: np.ndarray) -> pa.Array:
    """Rows of numbers as fixed binary."""
    rows = np.ascontiguousarray(values)
    kind = pa.binary(rows.itemsize * rows.shape[1])
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, pa.py_buffer(rows)])


def _words(column: pa.ChunkedArray) -> np.ndarray:
    """Fixed binary 16 as uint64 `(n, 2)`."""
    array = column.combine_chunks()
    if not len(array):
        return np.empty((0, 2), np.uint64)
    data = np.frombuffer(array.buffers()[1], np.uint64).reshape(-1, 2)
    return data[array.offset : array.offset + len(array)]
