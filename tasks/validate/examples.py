"""Which records to show for an aggregate that is not as expected, so that one knows where to look.

A maximum shows the largest values, a set the values outside it; where no record is to blame, the
first ones stand for all.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from tasks.validate.expectation import Expectation

EXAMPLES = 3
"""Keys shown in a verdict."""

Picker = Callable[[Expectation, pa.ChunkedArray], pa.Array | pa.ChunkedArray]
"""From a column to the places of its telling rows, the most telling first."""


def example_rows(expectation: Expectation, frame: pa.Table) -> list[int]:
    """At most three rows of `frame` that show why the expectation fails."""
    rows: list[int] = []
    picker = PICKERS.get(expectation.type)
    if picker is not None and expectation.columns:
        rows = picker(expectation, frame[expectation.columns[0]])[:EXAMPLES].to_pylist()
    return rows or list(range(min(EXAMPLES, frame.num_rows)))


def _largest(_: Expectation, column: pa.ChunkedArray) -> pa.Array:
    return pc.array_sort_indices(column, order="descending", null_placement="at_end")


def _smallest(_: Expectation, column: pa.ChunkedArray) -> pa.Array:
    return pc.array_sort_indices(column, order="ascending", null_placement="at_end")


def _outside(expectation: Expectation, column: pa.ChunkedArray) -> pa.Array:
    wanted = {str(value) for value in expectation.kwargs["value_set"]}
    inside = pc.is_in(column.cast(pa.string()), pa.array(sorted(wanted)))
    return pc.indices_nonzero(pc.and_(pc.invert(inside), pc.is_valid(column)))


def _null(_: Expectation, column: pa.ChunkedArray) -> pa.Array:
    return pc.indices_nonzero(pc.is_null(column))


def _repeated(_: Expectation, column: pa.ChunkedArray) -> pa.Array:
    counts = pa.table({"value": column}).group_by("value").aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1))["value"].combine_chunks()
    return pc.indices_nonzero(pc.is_in(column, twice))


PICKERS: dict[str, Picker] = {
    "expect_column_max_to_be_between": _largest,
    "expect_column_min_to_be_between": _smallest,
    "expect_column_distinct_values_to_be_in_set": _outside,
    "expect_column_distinct_values_to_equal_set": _outside,
    "expect_column_most_common_value_to_be_in_set": _outside,
    "expect_column_proportion_of_non_null_values_to_be_between": _null,
    "expect_column_proportion_of_unique_values_to_be_between": _repeated,
    "expect_column_unique_value_count_to_be_between": _repeated,
}
"""The expectations whose failure some records show better than others."""
