"""A published release judged again, over all of its rows: files, hashes, counts, row gates.

    readable      every column of every fragment is read; the file that cannot be is named
    content       each text still has the content hash that stands beside it
    columns       each row still has its row hash (a warning: kept rows may be of an older spec)
    duplicates    as many marks of each kind as the manifest says
    … and the row gates of a build (`tasks.audit.gates`), over every row, not the written ones alone

`count_rows` and Lance's own `validate` miss flipped bits and missing files. A flipped bit in a
vector is found where it breaks the file or the vector's length; nothing here knows what it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import ROW_HASH_NAMES
from schemas.identity import content_hashes, row_hashes
from schemas.manifest import AuditResult, Counts
from schemas.spec import Severity
from tasks.audit.gates import BATCH_ROWS, EXAMPLES, Expected, audit_candidate
from tasks.table.dataset import TableRef, open_version


@dataclass
class _Scan:
    """What one pass over every column found."""

    broken: list[str] = field(default_factory=list)  # file: error
    other_content: list[str] = field(default_factory=list)  # ids
    other_columns: list[str] = field(default_factory=list)
    texts: int = 0
    rows: int = 0


def audit_release(
    ref: TableRef,
    version: int,
    expected: Expected,
    columns: Mapping[str, Sequence[str]],
    severity: Severity = "refuse",
) -> list[AuditResult]:
    """Every verdict on the release at `version`; nothing is written.

    `columns`: source → the names of the user's columns that it carries. `severity` is that of the
    gates on vectors. Where a file cannot be read, no other gate is asked: they would fail on it.
    """
    dataset = open_version(ref, version)
    scan = _scan(dataset, columns)
    verdicts = [_readable(dataset, scan)]
    if scan.broken:
        return verdicts
    verdicts += [_content(scan), _columns(scan), _duplicates(dataset, expected.counts)]
    files = {file.path for each in dataset.get_fragments() for file in each.data_files()}
    return verdicts + audit_candidate(ref, version, files, expected, severity)


def _scan(dataset: Any, columns: Mapping[str, Sequence[str]]) -> _Scan:
    scan = _Scan()
    for fragment in dataset.get_fragments():
        try:
            for batch in _batches(dataset, fragment, dataset.schema.names):
                _look(batch, columns, scan)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - a panic of Lance's is no Exception
            scan.broken.append(_what_is_broken(dataset, fragment, error))
    return scan


def _batches(dataset: Any, fragment: Any, names: Sequence[str]) -> Any:
    scanner = dataset.scanner(columns=list(names), fragments=[fragment], batch_size=BATCH_ROWS)
    for batch in scanner.to_batches():
        batch.validate(full=True)  # offsets and UTF-8, which Lance hands on as it finds them
        yield batch


def _what_is_broken(dataset: Any, fragment: Any, error: BaseException) -> str:
    """The fragment's files, the columns that cannot be read, and what Lance says."""
    unread = []
    for name in dataset.schema.names:
        try:
            for _ in _batches(dataset, fragment, [name]):
                pass
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - see above; the first error is told
            unread.append(name)
    files = ", ".join(f"{dataset.uri}/data/{file.path}" for file in fragment.data_files())
    said = " ".join(str(error).split())[:300]
    which = f" (columns {', '.join(unread)})" if 0 < len(unread) < len(dataset.schema) else ""
    return f"{files}{which}: {said}"


def _look(batch: pa.RecordBatch, columns: Mapping[str, Sequence[str]], scan: _Scan) -> None:
    """Hash every text and row again."""
    rows = pa.table(batch)
    scan.rows += rows.num_rows
    texts = rows.filter(pc.is_valid(rows["text"]))
    scan.texts += texts.num_rows
    fresh = content_hashes(texts["text"].to_pylist())
    scan.other_content += _unequal(texts, "content_hash", fresh)
    for source in pc.unique(rows["source"]).to_pylist():
        names = columns.get(source)
        if names is None or not set(names) <= set(rows.column_names):
            continue
        own = rows.filter(pc.equal(rows["source"], source))
        hashed = row_hashes(own, [*ROW_HASH_NAMES, *sorted(names)])
        scan.other_columns += _unequal(own, "row_hash", hashed)


def _unequal(rows: pa.Table, name: str, fresh: pa.Array) -> list[str]:
    stands = rows[name].cast(pa.binary())
    other = pc.fill_null(pc.not_equal(stands, fresh.cast(pa.binary())), True)
    return rows["id"].filter(other).to_pylist()


def _readable(dataset: Any, scan: _Scan) -> AuditResult:
    detail = f"every column of {scan.rows:,} rows was read"
    if scan.broken:
        detail = (
            f"{len(scan.broken)} of {len(dataset.get_fragments())} fragments cannot be read: "
            f"{'; '.join(scan.broken[:EXAMPLES])}. Put the file back from a backup, or roll back "
            "to a release without it; the other gates were not asked"
        )
    return _verdict("readable", len(scan.broken), detail)


def _content(scan: _Scan) -> AuditResult:
    return _verdict(
        "content",
        len(scan.other_content),
        f"{len(scan.other_content)} of {scan.texts:,} texts are not what their content hash "
        f"says{_examples(scan.other_content)}; the file was changed after it was written",
    )


def _columns(scan: _Scan) -> AuditResult:
    return _verdict(
        "columns",
        len(scan.other_columns),
        f"{len(scan.other_columns)} of {scan.rows:,} rows are not what their row hash "
        f"says{_examples(scan.other_columns)}",
        severity="warn",
    )


def _duplicates(dataset: Any, counts: Counts) -> AuditResult:
    kinds = pl.DataFrame(dataset.to_table(columns=["duplicate_kind"]))["duplicate_kind"]
    found = dict(kinds.drop_nulls().value_counts().iter_rows())
    said = {name: n for name, n in counts.duplicates.model_dump().items() if n}
    off = sum(abs(found.get(name, 0) - said.get(name, 0)) for name in found.keys() | said.keys())
    return _verdict(
        "duplicates", off, f"the table marks {found or 'none'}, the manifest says {said or 'none'}"
    )


def _verdict(name: str, wrong: int, detail: str, severity: Severity = "refuse") -> AuditResult:
    return AuditResult(
        name=name,
        value=float(wrong),
        threshold=0.0,
        passed=wrong == 0,
        severity=severity,
        detail=detail,
    )


def _examples(ids: Sequence[str]) -> str:
    return f"; for example {', '.join(ids[:EXAMPLES])}" if ids else ""
