"""Each gate by a candidate that it must stop, and one that passes them all."""

from __future__ import annotations

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from schemas.arrow import table_schema
from schemas.manifest import AuditResult, Counts
from tasks.audit.gates import COLLAPSE_ROWS, Expected, audit_candidate, mean_cosine
from tasks.table.dataset import TableRef

DIMENSIONS = 16


def unit(rows: int, seed: int = 0) -> np.ndarray:
    """Random unit vectors."""
    vectors = np.random.default_rng(seed).normal(size=(rows, DIMENSIONS))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def similar(rows: int, noise: float) -> np.ndarray:
    """Unit vectors around one direction."""
    vectors = np.ones((rows, DIMENSIONS)) + noise * unit(rows)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Table:
    """A table with chosen vectors, and the verdicts on it."""

    def __init__(self, folder: Path, vector_type: str = "float16") -> None:
        self.ref = TableRef(str(folder), "judged")
        self.schema = table_schema(DIMENSIONS, vector_type)
        self.rows = 0

    def add(
        self,
        vectors: np.ndarray,
        ids: list[str] | None = None,
        kind: str = "text",
        duplicate_of: str | None = None,
    ) -> set[str]:
        """Append rows; returns the data files that hold them."""
        n = len(vectors)
        value = self.schema.field("vector").type.value_type
        given = {
            "id": pa.array(ids or [f"s:{i}" for i in range(self.rows, self.rows + n)]),
            "kind": pa.array([kind] * n),
            "duplicate_of": pa.array([duplicate_of] * n, pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(
                pa.array(vectors.astype(value.to_pandas_dtype()).ravel()), DIMENSIONS
            ).cast(self.schema.field("vector").type),
        }
        columns = [given.get(f.name, pa.nulls(n, f.type)) for f in self.schema]
        old = self._files() if self.rows else set()
        table = pa.Table.from_arrays(columns, schema=self.schema)
        lance.write_dataset(table, self.ref.path, mode="append" if self.rows else "create")
        self.rows += n
        self.written = self._files() - old
        return self.written

    def _files(self) -> set[str]:
        fragments = lance.dataset(self.ref.path).get_fragments()
        return {file.path for fragment in fragments for file in fragment.data_files()}

    def audit(self, **options) -> dict[str, AuditResult]:
        """Verdict by name."""
        counts = options.pop("counts", Counts(items=self.rows, rows=self.rows, new=self.rows))
        expected = Expected(counts, options.pop("dimensions", DIMENSIONS), True)
        version = lance.dataset(self.ref.path).version
        results = audit_candidate(self.ref, version, self.written, expected, **options)
        return {result.name: result for result in results}

    def refused_by(self, **options) -> list[str]:
        """Names of the gates that refuse."""
        return sorted(name for name, result in self.audit(**options).items() if result.refuses)


@pytest.fixture
def table(tmp_path) -> Table:
    return Table(tmp_path)


def test_sound_rows_pass_every_gate(table):
    table.add(unit(100))
    verdicts = table.audit()
    assert sorted(verdicts) == [
        "collapse:text",
        "counts",
        "finite",
        "ids_unique",
        "norm",
        "width",
        "zero_vectors",
    ]
    assert all(verdict.passed for verdict in verdicts.values())
    assert verdicts["norm"].value < 1e-3


def planted(value: float) -> np.ndarray:
    vectors = unit(50)
    vectors[7] = value
    return vectors


@pytest.mark.parametrize(
    ("vectors", "gate", "says"),
    [
        (planted(np.nan), "finite", "1 of 50 written vectors hold NaN.*s:7"),
        (planted(np.inf), "finite", "1 of 50 written vectors hold NaN, infinity.*s:7"),
        (planted(0.0), "zero_vectors", "1 of 50 written vectors are zero.*s:7"),
        (planted(0.26), "norm", "1 of 50 .* farthest norm is 0.04 from 1.*s:7"),
        (unit(50) * 2, "norm", "50 of 50 written vectors are not of unit length"),
        (similar(50, 0.1), "collapse:text", r"mean cosine of random pairs is 0\.99"),
    ],
    ids=["NaN", "infinity", "zero", "one not unit", "none unit", "collapsed"],
)
def test_planted_vectors_are_refused_by_name(table, vectors, gate, says):
    import re

    table.add(vectors)
    assert table.refused_by() == [gate]
    assert re.search(says, table.audit()[gate].detail)


def test_another_width_is_refused(table):
    table.add(unit(50))
    assert table.refused_by(dimensions=384) == ["width"]
    assert "16 dimensions, the embedder makes 384" in table.audit(dimensions=384)["width"].detail


def test_a_repeated_id_is_refused_wherever_its_rows_stand(table):
    table.add(unit(50))
    table.add(unit(3, seed=1), ids=["s:fresh", "s:49", "s:other"])
    assert table.refused_by() == ["ids_unique"]
    assert "1 ids stand in more than one row (for example s:49)" in (
        table.audit()["ids_unique"].detail
    )


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        (Counts(items=49, rows=49, new=49), "rows of the candidate = counts.rows: 50 ≠ 49"),
        (Counts(items=51, rows=50, new=50), "items = rows + items_rejected: 51 ≠ 50"),
        (
            Counts(records=9, records_used=7, records_rejected=1, items=50, rows=50, new=50),
            "records = records_used + records_rejected: 9 ≠ 8",
        ),
    ],
    ids=["rows", "items", "records"],
)
def test_counts_that_do_not_add_up_are_refused(table, counts, says):
    table.add(unit(50))
    assert table.refused_by(counts=counts) == ["counts"]
    assert says in table.audit(counts=counts)["counts"].detail


def test_only_written_rows_are_looked_at(table):
    table.add(planted(np.nan))
    table.add(unit(50, seed=1), ids=[f"s:later{i}" for i in range(50)])
    assert table.refused_by() == []
    assert "0 of 50" in table.audit()["finite"].detail


def test_collapse_is_judged_by_kind(table):
    table.add(unit(100))
    table.add(similar(100, 0.1), kind="image")
    assert table.refused_by() == ["collapse:image"]


def test_few_collapsed_rows_are_caught_among_many_good_ones(table):
    table.add(unit(500))
    assert table.refused_by() == []
    table.add(similar(40, 0.1))  # the last build: 40 of 540 rows
    verdict = table.audit()["collapse:text"]
    assert not verdict.passed
    assert "over 40 written rows" in verdict.detail


def test_marked_duplicates_do_not_look_like_a_collapse(table):
    table.add(unit(40))
    copies = np.repeat(unit(1, seed=3), 2_000, axis=0)
    table.add(copies, duplicate_of="s:0")
    assert table.refused_by() == []


def test_few_rows_are_no_collapse_and_it_says_so(table):
    table.add(similar(COLLAPSE_ROWS - 1, 0.1))
    verdict = table.audit()["collapse:text"]
    assert verdict.passed
    assert verdict.value is None
    assert verdict.detail == (
        "text: only 29 kept rows, 30 are needed to judge; from 0.95 on the vectors tell nothing "
        "apart"
    )


def test_warn_reports_and_off_leaves_only_what_always_refuses(table):
    table.add(planted(0.0))
    assert table.refused_by(severity="warn") == []
    assert not table.audit(severity="warn")["zero_vectors"].passed
    assert sorted(table.audit(severity="off")) == ["counts", "ids_unique"]


def test_an_empty_candidate_passes(table):
    table.add(unit(1)[:0])
    assert table.refused_by() == []


def test_mean_cosine_is_that_of_all_pairs():
    vectors = unit(20) * 3
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = (directions @ directions.T)[np.triu_indices(20, 1)]
    assert mean_cosine(vectors) == pytest.approx(pairs.mean(), abs=1e-6)
    assert mean_cosine(vectors[:1]) == 0.0


def test_float32_tables_are_judged_alike(tmp_path):
    table = Table(tmp_path, "float32")
    table.add(unit(64))
    assert table.refused_by() == []
