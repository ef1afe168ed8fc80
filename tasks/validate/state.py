"""The state as a whole: table expectations over projected columns, and the share of rejects.

Verdicts are kept by what they depend on, so a build that finds nothing new judges nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.identity import digest_json
from schemas.manifest import AuditResult
from schemas.refs import RecordsPart, RejectsRef
from schemas.spec import SpaceSpec
from tasks.store.workdir import Store
from tasks.validate.examples import EXAMPLES, example_rows
from tasks.validate.expectation import Expectation, shortened
from tasks.validate.judge import judge
from tasks.validate.rejected import SourceRejects, count_rejects, rows_taken_out
from tasks.validate.shortcut import surely_met
from tasks.validate.suite import Suite, visible_columns

VERDICT_VERSION = 1
"""Raised when the same state would be judged or worded in another way."""


def validate_state(
    parts: Sequence[RecordsPart],
    rejects: Sequence[RejectsRef],
    suite: Suite,
    spec: SpaceSpec,
    store: Store,
    kept: Mapping[str, int] | None = None,
) -> list[AuditResult]:
    """A verdict for each table expectation and for the reject share of each source.

    `rejects` are those of all stages so far; a row that they name is not usable. `kept` counts the
    published records of each source that stay without a file: they count as usable ones, and no
    expectation looks at their columns again.
    """
    kept = dict(kept or {})
    name = _name(parts, rejects, suite, spec, kept)
    if (path := store.find("verdicts", name, ".json")) is not None:
        found = json.loads(path.read_text("utf-8"))
        return [AuditResult.model_validate(each) for each in found]
    state = _State(tuple(parts), rows_taken_out(rejects), kept)
    verdicts = [
        *(_judge(expectation, state, suite.origin, spec) for expectation in suite.table),
        *_reject_shares(state, count_rejects(rejects), spec),
    ]
    with store.create("verdicts", name, ".json") as path:
        path.write_text(json.dumps([v.model_dump() for v in verdicts], ensure_ascii=False), "utf-8")
    return verdicts


def _name(
    parts: Sequence[RecordsPart],
    rejects: Sequence[RejectsRef],
    suite: Suite,
    spec: SpaceSpec,
    kept: dict[str, int],
) -> str:
    """What the verdicts depend on; the names of rejects files say what they hold."""
    sources = [[s.name, s.kind, visible_columns(s)] for s in spec.sources]
    return digest_json(
        [
            *("verdict", VERDICT_VERSION, suite.digest, spec.expectations.max_reject_share),
            *(sources, [p.digest for p in parts], sorted(Path(r.path).stem for r in rejects)),
            kept,
        ]
    )


@dataclass(frozen=True)
class _State:
    """All records of all parts, less the rows taken out (by part)."""

    parts: tuple[RecordsPart, ...]
    gone: dict[str, pa.Array]
    kept: dict[str, int] = field(default_factory=dict)

    def usable(self, source: str) -> int:
        """Records of the source that are not taken out, and those kept without a file."""
        read = sum(self.read(p, ["row"]).num_rows for p in self.parts if p.source == source)
        return read + self.kept.get(source, 0)

    def read(self, part: RecordsPart, columns: Sequence[str]) -> pa.Table:
        """Some columns of a part's usable records."""
        table = pq.read_table(part.path, columns=list(dict.fromkeys(["row", *columns])))
        if part.digest in self.gone:
            table = table.filter(pc.invert(pc.is_in(table["row"], self.gone[part.digest])))
        return table

    def frame(self, sources: Sequence[str], columns: Sequence[str]) -> pa.Table:
        """Only these columns of the usable records of some sources; `row` counts through them."""
        tables = [self.read(p, columns).select(columns) for p in self.parts if p.source in sources]
        if not columns:
            rows = sum(self.usable(source) for source in sources)
            return pa.table({"row": pa.array(np.arange(rows))})
        nothing = pa.table({name: pa.array([], pa.string()) for name in columns})
        whole = pa.concat_tables(tables, promote_options="permissive") if tables else nothing
        return whole.append_column("row", pa.array(np.arange(whole.num_rows)))

    def keys(self, sources: Sequence[str], rows: Sequence[int]) -> list[str]:
        """`source:key` of some rows of a frame over those sources."""
        found: dict[int, str] = {}
        first = 0
        for part in self.parts:
            if part.source in sources and len(found) < len(rows):
                table = self.read(part, ["key"])
                inside = [r for r in rows if first <= r < first + table.num_rows]
                for row in inside:
                    found[row] = f"{part.source}:{table['key'][row - first].as_py()}"
                first += table.num_rows
        return [found[row] for row in rows if row in found]


def _judge(expectation: Expectation, state: _State, origin: str, spec: SpaceSpec) -> AuditResult:
    """One verdict. Columns are read for this expectation alone and let go again."""
    if expectation.level == "columns":
        frame = _empty_frame(expectation, spec)
    else:
        frame = state.frame(expectation.sources, expectation.columns)
        if frame.num_rows == 0 and expectation.columns and surely_met(expectation, frame) is None:
            return _verdict(expectation, False, None, None, "there is no usable record")
    (outcome,) = judge(frame, [expectation], origin)
    if expectation.level == "columns":
        detail = f"the records have the columns {', '.join(frame.column_names[:-1])}"
        return _verdict(expectation, outcome.success, None, None, detail)
    if outcome.elements:
        judged = max(1, outcome.elements - outcome.missing)
        value = 1 - outcome.unexpected / judged
        threshold = float(expectation.kwargs.get("mostly", 1))
        found = f"{outcome.unexpected} of {outcome.elements} records do not meet it"
    else:
        value = _number(outcome.observed)
        threshold = _threshold(expectation, value)
        found = "it holds" if outcome.success else "it does not hold"
        if outcome.observed is not None:
            found = f"found {shortened(outcome.observed)}"
    if not outcome.success:
        rows = list(outcome.failing)[:EXAMPLES] or example_rows(expectation, frame)
        keys = state.keys(expectation.sources, rows)
        found += f"; for example {', '.join(keys)}" if keys else ""
    return _verdict(expectation, outcome.success, value, threshold, found)


def _empty_frame(expectation: Expectation, spec: SpaceSpec) -> pa.Table:
    """No row of every column that the sources declare."""
    columns = dict.fromkeys(
        c for name in expectation.sources for c in visible_columns(spec.source(name))
    )
    return pa.table({name: pa.array([], pa.string()) for name in [*columns, "row"]})


def _verdict(
    expectation: Expectation,
    passed: bool,
    value: float | None,
    threshold: float | None,
    found: str,
) -> AuditResult:
    return AuditResult(
        name=expectation.name,
        value=value,
        threshold=threshold,
        passed=passed,
        severity=expectation.severity,
        detail=f"expected {expectation.expected}; {found}",
    )


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _threshold(expectation: Expectation, value: float | None) -> float | None:
    """The bound that `value` breaks, or the only one there is."""
    kwargs = expectation.kwargs
    least = _number(kwargs.get("min_value", kwargs.get("value", kwargs.get("threshold"))))
    most = _number(kwargs.get("max_value"))
    if least is None or (value is not None and most is not None and value >= most):
        return most
    return least


def _reject_shares(
    state: _State, rejected: dict[str, SourceRejects], spec: SpaceSpec
) -> list[AuditResult]:
    """One verdict a source: not more than `max_reject_share` of its records were rejected."""
    limit = spec.expectations.max_reject_share
    verdicts = []
    for source in spec.sources:
        found = rejected.get(source.name, SourceRejects())
        records = state.usable(source.name) + found.records
        share = found.records / records if records else 0.0
        detail = f"{found.records} of {records} records of '{source.name}' were rejected"
        if found.examples:
            detail += f"; for example {'; '.join(found.examples)}"
        verdicts.append(
            AuditResult(
                name=f"max_reject_share:{source.name}",
                value=share,
                threshold=limit,
                passed=share <= limit,
                severity="refuse",
                detail=detail,
            )
        )
    return verdicts
