"""Judge some records by some expectations: by a shortcut where it is sure, else by the library."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from tasks.validate.expectation import Expectation
from tasks.validate.outcome import Outcome
from tasks.validate.shortcut import surely_met


def judge(table: pa.Table, expectations: Sequence[Expectation], origin: str) -> list[Outcome]:
    """The outcome of each expectation on a table with its columns and an int64 column `row`.

    `origin` names the suite in messages. Raises `UsageError` for an expectation that cannot be
    computed on these columns.
    """
    outcomes = {n: surely_met(e, table) for n, e in enumerate(expectations)}
    unsure = [n for n, outcome in outcomes.items() if outcome is None]
    if unsure:
        from tasks.validate.gx import judge_by_library

        found = judge_by_library(table, [expectations[n] for n in unsure], origin)
        outcomes.update(zip(unsure, found, strict=True))
    return [outcome for outcome in outcomes.values() if outcome is not None]
