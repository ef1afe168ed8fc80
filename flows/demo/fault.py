"""A fault on purpose: an embedder whose last vectors come out broken, to see a gate refuse them.

The build is the normal one; only its runner spoils what the stage `embed` has written. It works
in a `workdir` of its own, so that no other build can ever find a spoilt vector.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flows.compose import build_space
from flows.outcome import Outcome
from flows.progress import StageBars
from flows.runner import PlainRunner
from schemas.refs import ShardResult
from schemas.spec import SpaceSpec

T = TypeVar("T")

SPOILT = 3
"""Vectors that become NaN: a gate that looks at every row finds even one."""

KEPT = "reports"
"""What stays of the faulty build's `workdir`."""


class FaultyRunner(PlainRunner):
    """Runs a build as ever, and then spoils some of the vectors that it has just embedded."""

    def map(
        self,
        stage: str,
        function: Callable[..., T],
        calls: Sequence[tuple[Any, ...]],
        **options: Any,
    ) -> list[T]:
        """See `Runner.map`."""
        results = super().map(stage, function, calls, **options)
        for result in results:
            if stage == "embed" and isinstance(result, ShardResult) and result.path:
                spoil(Path(result.path))
        return results


def spoil(path: Path) -> None:
    """Put NaN into the first `SPOILT` vectors of a file of vectors."""
    table = pq.read_table(path)
    column = table.column("vector").combine_chunks()
    values = column.flatten().to_numpy().reshape(len(column), -1).copy()
    values[:SPOILT] = np.nan
    spoilt = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), type=column.type)
    at = table.column_names.index("vector")
    pq.write_table(table.set_column(at, table.schema.field("vector"), spoilt), path)


def build_with_fault(spec: SpaceSpec, workdir: Path, bars: StageBars) -> Outcome:
    """Build `spec` with spoilt vectors in a `workdir` of its own; only the report is kept."""
    elsewhere = spec.model_copy(update={"workdir": str(workdir)})
    try:
        return build_space(elsewhere, runner=FaultyRunner(bars))
    finally:
        for path in workdir.iterdir():
            if path.name != KEPT:
                shutil.rmtree(path)
