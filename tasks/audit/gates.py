"""The row gates: what must hold of a candidate before anybody may read it.

    finite, width, norm, zero_vectors   every vector that the build wrote
    collapse:<kind>                     bounded samples of the candidate and of the written rows
    ids_unique, counts                  the whole candidate; always refuse

Neither torch nor the embedder is needed. An unchanged row was audited by the build that wrote it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from schemas.manifest import AuditResult, Counts
from schemas.spec import Severity
from tasks.store.memory import frugal
from tasks.table.dataset import TableRef, open_version
from tasks.table.vectors import matrix, vectors_at

NORM_TOLERANCE = 1e-3
"""|‖v‖ − 1| that float16 may cause: each value is off by at most 2⁻¹¹ of itself, so is the norm."""

ZERO_NORM = 1e-6
"""A vector this short has no direction; cosine search never finds it."""

COLLAPSE_COSINE = 0.95
"""Mean cosine of random pairs from which on the space tells nothing apart (the issue's limit)."""

COLLAPSE_ROWS = 30
"""Fewer kept rows of a kind than this say nothing about the space."""

SAMPLE_ROWS = 2_000
"""Rows per kind whose pairs are compared: the mean of 2 million pairs."""

SEED = 20_261_120
"""The same candidate gets the same verdict."""

BATCH_ROWS = 8_192

READING = {
    "batch_size": BATCH_ROWS,
    "batch_readahead": 2,
    "fragment_readahead": 2,
    "io_buffer_size": 32 << 20,
}
"""How much Lance reads ahead: by itself it holds up to 2 GB."""

EXAMPLES = 3


@dataclass(frozen=True)
class Expected:
    """What a candidate must be: the manifest's counts and the embedder's shape."""

    counts: Counts
    dimensions: int
    normalize: bool


@dataclass
class _Seen:
    """What one pass over the written vectors found."""

    rows: int = 0
    not_finite: int = 0
    zero: int = 0
    not_unit: int = 0
    worst: float = 0.0  # largest distance of a norm from 1
    examples: dict[str, list[str]] | None = None

    def note(self, name: str, ids: pa.Array, bad: np.ndarray) -> int:
        """Keep the first few ids of the bad rows; returns how many rows are bad."""
        self.examples = self.examples or {}
        kept = self.examples.setdefault(name, [])
        places = np.flatnonzero(bad)
        kept += ids.take(pa.array(places[: EXAMPLES - len(kept)])).to_pylist()
        return len(places)

    def named(self, name: str) -> str:
        """The examples, in words."""
        ids = (self.examples or {}).get(name, [])
        return f"; for example {', '.join(ids)}" if ids else ""


def audit_candidate(
    ref: TableRef,
    version: int,
    written_files: Collection[str],
    expected: Expected,
    severity: Severity = "refuse",
) -> list[AuditResult]:
    """Every gate's verdict on the candidate at the detached `version`.

    `written_files` are the data files that the build wrote. `severity` is that of `audit.quality`
    (`off`: only the counts and the ids are looked at, which always refuse).
    """
    with frugal():
        return _audit(open_version(ref, version), written_files, expected, severity)


def _audit(
    dataset: Any, written_files: Collection[str], expected: Expected, severity: Severity
) -> list[AuditResult]:
    results = [_counts(dataset, expected.counts), _ids_unique(dataset)]
    if severity == "off":
        return results
    width = _width(dataset, expected.dimensions, severity)
    results.append(width)
    if width.passed:
        written = [
            fragment
            for fragment in dataset.get_fragments()
            if any(file.path in written_files for file in fragment.data_files())
        ]
        seen = _look(dataset, written, expected.normalize)
        results += _vector_results(seen, expected.normalize, severity)
        results += _collapse(dataset, written, severity)
    return results


def _counts(dataset: Any, counts: Counts) -> AuditResult:
    rows = dataset.count_rows()
    problems = counts.problems()
    if rows != counts.rows:
        problems.append(f"rows of the candidate = counts.rows: {rows} ≠ {counts.rows}")
    says = "; ".join(problems) or "every equation of the counts holds"
    return AuditResult(
        name="counts",
        value=float(rows),
        threshold=float(counts.rows),
        passed=not problems,
        severity="refuse",
        detail=f"{says}. A count that does not add up means that rows were lost or doubled",
    )


def _ids_unique(dataset: Any) -> AuditResult:
    """64-bit hashes of all ids (8 bytes a row); only ids whose hashes collide are compared."""
    hashes = np.concatenate([np.empty(0, np.uint64), *(_hashed(batch) for batch in _ids(dataset))])
    hashes.sort()
    twice = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    repeated: list[str] = []
    if len(twice):
        suspects: list[str] = []
        for batch in _ids(dataset):
            chosen = np.isin(_hashed(batch), twice)
            suspects += batch.column("id").filter(pa.array(chosen)).to_pylist()
        counted = pl.Series("id", suspects).value_counts()
        repeated = counted.filter(pl.col("count") > 1)["id"].sort().to_list()
    examples = f" (for example {', '.join(repeated[:EXAMPLES])})" if repeated else ""
    return AuditResult(
        name="ids_unique",
        value=float(len(repeated)),
        threshold=0.0,
        passed=not repeated,
        severity="refuse",
        detail=f"{len(repeated)} ids stand in more than one row{examples}, at most 0 may; "
        "an id names one place of one source",
    )


def _ids(dataset: Any) -> Iterator[pa.RecordBatch]:
    yield from dataset.scanner(columns=["id"], **READING).to_batches()


def _hashed(batch: pa.RecordBatch) -> np.ndarray:
    return pl.Series(batch.column("id")).hash(SEED).to_numpy()


def _width(dataset: Any, dimensions: int, severity: Severity) -> AuditResult:
    kind = dataset.schema.field("vector").type
    width = kind.list_size if pa.types.is_fixed_size_list(kind) else -1
    return AuditResult(
        name="width",
        value=float(width),
        threshold=float(dimensions),
        passed=width == dimensions,
        severity=severity,
        detail=f"vectors have {width} dimensions, the embedder makes {dimensions}; another width "
        "means another model",
    )


def _look(dataset: Any, fragments: list[Any], normalize: bool) -> _Seen:
    """One pass over the written vectors."""
    seen = _Seen()
    if not fragments:
        return seen
    scanner = dataset.scanner(columns=["id", "vector"], fragments=fragments, **READING)
    for batch in scanner.to_batches():
        vectors, ids = matrix(batch.column("vector")), batch.column("id")
        seen.rows += batch.num_rows
        finite: np.ndarray = np.logical_and.reduce(np.isfinite(vectors), axis=1)
        seen.not_finite += seen.note("finite", ids, ~finite)
        norms = np.linalg.norm(np.where(finite[:, None], vectors, 0), axis=1)
        zero = finite & (norms < ZERO_NORM)
        seen.zero += seen.note("zero_vectors", ids, zero)
        if normalize:
            off = np.abs(norms - 1)
            judged = finite & ~zero
            seen.not_unit += seen.note("norm", ids, judged & (off > NORM_TOLERANCE))
            seen.worst = max(seen.worst, float(off[judged].max(initial=0.0)))
    return seen


def _vector_results(seen: _Seen, normalize: bool, severity: Severity) -> Iterable[AuditResult]:
    yield AuditResult(
        name="finite",
        value=float(seen.not_finite),
        threshold=0.0,
        passed=seen.not_finite == 0,
        severity=severity,
        detail=f"{seen.not_finite} of {seen.rows} written vectors hold NaN, infinity or null, at "
        f"most 0 may; such a row poisons every distance{seen.named('finite')}",
    )
    yield AuditResult(
        name="zero_vectors",
        value=float(seen.zero),
        threshold=0.0,
        passed=seen.zero == 0,
        severity=severity,
        detail=f"{seen.zero} of {seen.rows} written vectors are zero, at most 0 may; a zero vector "
        f"is never found{seen.named('zero_vectors')}",
    )
    if normalize:
        yield AuditResult(
            name="norm",
            value=seen.worst,
            threshold=NORM_TOLERANCE,
            passed=seen.not_unit == 0,
            severity=severity,
            detail=f"{seen.not_unit} of {seen.rows} written vectors are not of unit length: the "
            f"farthest norm is {seen.worst:.2g} from 1, allowed is {NORM_TOLERANCE:g} (float16); "
            f"the space promises unit vectors{seen.named('norm')}",
        )


def _collapse(dataset: Any, written: list[Any], severity: Severity) -> Iterable[AuditResult]:
    """Mean cosine of all pairs of a sample of rows that are no duplicates, by kind.

    Judged over the whole candidate and over the written rows alone, since among many good rows a
    small build of collapsed ones would pass; the worse of the two is the verdict.
    """
    kept = _kept_rows(dataset)
    numbers = np.array([fragment.fragment_id for fragment in written], np.uint64)
    for kind, addresses in sorted(kept.items()):
        fresh = np.isin(addresses >> np.uint64(32), numbers)
        samples = {"kept": addresses, "written": addresses[fresh]}
        yield _collapse_result(dataset, kind, samples, severity)


def _kept_rows(dataset: Any) -> dict[str, np.ndarray]:
    """Kind → the addresses (uint64) of its rows that are no duplicates: eight bytes a row."""
    found: dict[str, list[np.ndarray]] = {}
    scanner = dataset.scanner(
        columns=["kind"], filter="duplicate_of IS NULL", with_row_address=True, **READING
    )
    for batch in scanner.to_batches():
        kinds, addresses = batch.column("kind"), batch.column("_rowaddr").to_numpy()
        for kind in kinds.unique().drop_null().to_pylist():
            chosen = pc.equal(kinds, kind).fill_null(False).to_numpy(zero_copy_only=False)
            found.setdefault(kind, []).append(addresses[chosen])
    return {kind: np.concatenate(some) for kind, some in found.items()}


def _collapse_result(
    dataset: Any, kind: str, samples: dict[str, np.ndarray], severity: Severity
) -> AuditResult:
    rows = len(samples["kept"])
    value, says = None, f"only {rows} kept rows, {COLLAPSE_ROWS} are needed to judge"
    for name, addresses in samples.items():
        if len(addresses) < COLLAPSE_ROWS:
            continue
        size = min(SAMPLE_ROWS, len(addresses))
        chosen = np.random.default_rng(SEED).choice(addresses, size, replace=False)
        cosine = mean_cosine(vectors_at(dataset, chosen))
        if value is None or cosine > value:
            value = cosine
            says = f"mean cosine of random pairs is {value:.3f} over {size} {name} rows"
    return AuditResult(
        name=f"collapse:{kind}",
        value=value,
        threshold=COLLAPSE_COSINE,
        passed=value is None or value < COLLAPSE_COSINE,
        severity=severity,
        detail=f"{kind}: {says}; from {COLLAPSE_COSINE} on the vectors tell nothing apart",
    )


def mean_cosine(vectors: np.ndarray) -> float:
    """Mean cosine of all pairs of different rows of `(n, d)`: `(|Σu|² − n) / n(n−1)`.

    Rows that are zero or not finite are left out: other gates name them. 0.0 for fewer than two.
    """
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    usable = np.isfinite(norms) & (norms > ZERO_NORM)
    unit = vectors[usable].astype(np.float64) / norms[usable, None]
    n = len(unit)
    return 0.0 if n < 2 else float((np.square(unit.sum(axis=0)).sum() - n) / (n * (n - 1)))
