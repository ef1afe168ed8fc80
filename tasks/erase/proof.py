"""The proof that nothing of the records is left on disk, independent of what was removed.

    tables    every version of the space's table and its companions opens; every data file is read
              as it lies there, deletion marks or not; no file lies about that no version names
    workdir   every parquet file is read; every vector's content is looked at
    bytes     every file is searched for the keys, the content hashes and pieces of the texts

A hit in the bytes of a table or parquet file counts unless the same bytes stand in a row that
stays, or in a manifest that does not speak of a record: another text may say the same. Compressed
pages hide bytes, which is why the rows are read, too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.identity import item_id
from tasks.erase.asked import Asked, names_key
from tasks.erase.byte_search import found_in
from tasks.erase.companions import blank_row
from tasks.erase.holders import versions_of
from tasks.erase.rows import loose_files
from tasks.erase.staged import FOLDERS, REPORTS, named_rows
from tasks.table.dataset import TableRef, open_version, try_open
from tasks.table.history import read_commit
from tasks.table.releases import read_manifest

COMPANIONS = ("builds", "rejects", "tombstones", "clusters", "fits")

KEY_BYTES = 6
"""A shorter key stands in any file by chance; whether its record is left, the rows tell."""

NEEDLES = 256
"""Byte strings looked for in every file; of more, as many as this, evenly chosen."""

PIECE = 32
"""Code points of a text that are looked for, from its middle; a text under `PIECE_LEAST` is left
to the rows."""

PIECE_LEAST = 12


@dataclass
class Proof:
    """What was looked at, and what was found: `findings` empty is the proof."""

    versions: int = 0
    data_files: int = 0
    rows: int = 0
    staged_files: int = 0
    staged_rows: int = 0
    files: int = 0
    bytes: int = 0
    needles: int = 0
    shared: int = 0
    """Files in which the bytes stand because another record says the same."""

    findings: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, int]:
        """The numbers, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}


def prove(
    ref: TableRef,
    root: str,
    asked: Asked,
    texts: Collection[str],
    contents: Collection[bytes],
    kept: Collection[bytes],
) -> Proof:
    """Look for the records everywhere. `kept` are contents that rows which stay have, too."""
    proof = Proof()
    searched = needles(asked, texts, frozenset(contents) - frozenset(kept))
    proof.needles = len(searched)
    named = names_key(key for _, key in asked.records)
    said = _log_says(ref, named, proof)
    tables = [ref, *(ref.companion(name) for name in COMPANIONS)]
    for table in tables:
        dataset = try_open(table)
        if dataset is not None:
            said += _look_at_table(table, dataset, asked, named, proof)
    for path in staged_files(root):
        if path.suffix == ".parquet":
            _look_at_parquet(path, asked, frozenset(contents) - frozenset(kept), proof)
    for table in tables:
        for name, path in table_files(table):
            _look_at_bytes(path, searched, said, proof, name)
    for path in staged_files(root):
        _look_at_bytes(path, searched, said, proof, str(path))
    return proof


def needles(asked: Asked, texts: Iterable[str], contents: Iterable[bytes]) -> list[bytes]:
    """What to look for: ids, keys, content hashes and pieces of texts, evenly chosen."""
    ids = {item_id(source, key, None).encode() for source, key in asked.records}
    keys = {key.encode() for _, key in asked.records if not key.isdigit()}
    pieces = set()
    for text in texts:
        middle = max(0, len(text) // 2 - PIECE // 2)
        piece = text[middle : middle + PIECE].strip()
        if len(piece) >= PIECE_LEAST:
            pieces.add(piece.encode("utf-8", "surrogatepass"))
    groups = [
        sorted(each for each in ids | keys if len(each) >= KEY_BYTES),
        sorted(contents),
        sorted(pieces),
    ]
    return [each for group in groups for each in _evenly(group, NEEDLES // len(groups))]


def _evenly(values: list[bytes], most: int) -> list[bytes]:
    step = max(1, -(-len(values) // most))
    return values[::step]


def table_files(ref: TableRef) -> Iterator[tuple[str, Path]]:
    """Name and local path of every file of a table; from an object store one copy at a time."""
    dataset = try_open(ref)
    if ref.local is not None:
        yield from ((str(path), path) for path in sorted(ref.local.rglob("*")) if path.is_file())
    elif dataset is not None:
        session = dataset.new_file_session()
        with tempfile.TemporaryDirectory(prefix="vecmill-forget-") as folder:
            for path in sorted(dataset.all_files().read_all().column("path").to_pylist()):
                copy = Path(folder) / f"copy{Path(path).suffix}"
                session.download_file(path, str(copy))
                yield f"{ref.path}/{path}", copy


def staged_files(root: str) -> Iterator[Path]:
    """The files that builds left in the `workdir`, but for the reports of other spaces."""
    for name in FOLDERS:
        if name != REPORTS:
            yield from sorted(p for p in (Path(root) / name).rglob("*") if p.is_file())


def _log_says(ref: TableRef, named: Any, proof: Proof) -> str:
    """The text of `<space>__builds`; a row that names a record is a finding."""
    dataset = try_open(ref.companion("builds"))
    if dataset is None:
        return ""
    rows = dataset.to_table().to_pylist()
    telling = [row for row in rows if blank_row(row, named) != row]
    if telling:
        where = ref.companion("builds").path
        proof.findings.append(f"{where}: {len(telling)} builds whose verdicts name a record")
        return ""
    return "".join(str(value) for row in rows for value in row.values())


def _look_at_table(ref: TableRef, dataset: Any, asked: Asked, named: Any, proof: Proof) -> str:
    """Look at every version and data file; returns what manifests and schema say by themselves."""
    said = [name for field in dataset.schema for name in (field.name, str(field.type))]
    files: set[str] = set()
    for version in versions_of(dataset):
        open_version(ref, version.number).count_rows()
        proof.versions += 1
        files |= version.data
        manifest = read_manifest(read_commit(dataset, version.number))
        if manifest is None:
            continue
        if any(named.search(audit.detail) for audit in manifest.audits):
            proof.findings.append(f"{ref.path}: the manifest of version {version.number}")
        else:
            said.append(manifest.to_json())
    for path in sorted(files):
        proof.data_files += 1
        for batch in _data_batches(ref, path):
            proof.rows += batch.num_rows
            held = named_rows(batch, asked)
            if held is not None and held.any():
                proof.findings.append(f"{ref.path}/{path}: {int(held.sum())} rows of the records")
    loose = loose_files(dataset)
    proof.findings += [f"{ref.path}/{path}: no version refers to it" for path in loose]
    return " ".join(said)


def _data_batches(ref: TableRef, path: str) -> Iterator[pa.RecordBatch]:
    from lance.file import LanceFileReader

    place, options = f"{ref.path}/{path}", ref.options()
    names = LanceFileReader(place, storage_options=options).metadata().schema.names
    wanted = [name for name in ("id", "duplicate_of", "source", "key") if name in names]
    if wanted:
        reader = LanceFileReader(place, storage_options=options, columns=wanted)
        yield from reader.read_all(batch_size=65_536).to_batches()


def _look_at_parquet(path: Path, asked: Asked, contents: frozenset[bytes], proof: Proof) -> None:
    file = pq.ParquetFile(path)
    names = [
        name
        for name in ("id", "duplicate_of", "kept_id", "source", "key", "content_hash")
        if name in file.schema_arrow.names
    ]
    proof.staged_files += 1
    for batch in file.iter_batches(65_536, columns=names):
        proof.staged_rows += batch.num_rows
        held = named_rows(batch, asked)
        if held is not None and held.any():
            proof.findings.append(f"{path}: {int(held.sum())} rows of the records")
        if path.parent.parent.name == "vectors" and contents:
            known = pl.Series("content_hash", batch.column("content_hash"))
            if known.is_in(list(contents)).any():
                proof.findings.append(f"{path}: vectors of the records' contents")


def _look_at_bytes(path: Path, searched: list[bytes], said: str, proof: Proof, name: str) -> None:
    """Search a file's bytes; `said` is what manifests say without speaking of a record."""
    proof.files += 1
    proof.bytes += path.stat().st_size
    for needle in sorted(found_in(path, searched)):
        if _said_by_others(path, needle, said):
            proof.shared += 1
        else:
            what = needle.decode("utf-8", "backslashreplace")
            proof.findings.append(f"{name}: the bytes {what!r}")


def _said_by_others(path: Path, needle: bytes, said: str) -> bool:
    """Whether a row in the file, or a manifest, says so. Whose rows they are was looked at."""
    if needle in said.encode("utf-8", "surrogatepass"):
        return True
    return any(_holds(column, needle) for column in _columns(path))


def _columns(path: Path) -> Iterator[pa.ChunkedArray]:
    """Every column of a columnar file; none of another one."""
    if path.suffix == ".parquet":
        yield from pq.read_table(path).columns
    elif path.suffix == ".lance":
        from lance.file import LanceFileReader

        yield from LanceFileReader(str(path)).read_all().to_table().columns


def _holds(column: pa.ChunkedArray, needle: bytes) -> bool:
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = needle.decode("utf-8", "surrogatepass") if _is_text(needle) else None
        return text is not None and bool(pc.any(pc.match_substring(column, text)).as_py())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return any(needle in each for each in column.to_pylist() if each is not None)
    if pa.types.is_fixed_size_binary(kind):
        return any(needle == each for each in column.to_pylist())
    return False


def _is_text(needle: bytes) -> bool:
    try:
        needle.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True
