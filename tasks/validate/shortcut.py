"""Say of plain expectations that they hold, without Great Expectations and its five seconds.

A build after a small change judges a few new records, nearly always good ones. What is surely
met is said here from Arrow columns; anything else, every failure above all, is the library's to
judge. A test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tasks.store.hashes import repeated
from tasks.validate.expectation import Expectation
from tasks.validate.outcome import Outcome

BETWEEN = {"column", "min_value", "max_value", "mostly"}
"""Arguments understood here; any other one (a strict bound) is left to the library."""

SEED = 20_261_120
"""Of the hashes of rows: batches of one table are compared with each other."""


def surely_met(expectation: Expectation, table: pa.Table) -> Outcome | None:
    """The outcome of an expectation that holds for every row; None where that is not sure."""
    check = CHECKS.get(expectation.type)
    return check(expectation, table) if check is not None else None


def _all_meet(table: pa.Table, missing: int = 0) -> Outcome:
    return Outcome(True, elements=table.num_rows, missing=missing)


def _not_null(expectation: Expectation, table: pa.Table) -> Outcome | None:
    column = table[expectation.columns[0]]
    empty = column.null_count or pa.types.is_floating(column.type)  # where NaN counts as missing
    return None if empty else _all_meet(table)


def _length_between(expectation: Expectation, table: pa.Table) -> Outcome | None:
    column = table[expectation.columns[0]]
    if not pa.types.is_string(column.type):
        return None
    return _inside(expectation, table, pc.utf8_length(column))


def _value_between(expectation: Expectation, table: pa.Table) -> Outcome | None:
    column = table[expectation.columns[0]]
    return _inside(expectation, table, column) if pa.types.is_integer(column.type) else None


def _inside(expectation: Expectation, table: pa.Table, numbers: pa.ChunkedArray) -> Outcome | None:
    least, most = (expectation.kwargs.get(key) for key in ("min_value", "max_value"))
    if not set(expectation.kwargs) <= BETWEEN or not _numbers(least, most):
        return None
    found = pc.min_max(numbers)
    low, high = found["min"].as_py(), found["max"].as_py()
    if low is not None:  # else every value is null
        below = least is not None and low < least
        above = most is not None and high > most
        if below or above:
            return None
    return _all_meet(table, numbers.null_count)


def _numbers(*bounds: object) -> bool:
    return all(bound is None or type(bound) in (int, float) for bound in bounds)


def _in_set(expectation: Expectation, table: pa.Table) -> Outcome | None:
    column, values = table[expectation.columns[0]], expectation.kwargs["value_set"]
    if not pa.types.is_string(column.type) or not all(isinstance(v, str) for v in values):
        return None
    inside = pc.is_in(column, pa.array(values, pa.string()), skip_nulls=True)
    outside = pc.and_(pc.invert(inside), pc.is_valid(column))
    return None if pc.any(outside).as_py() else _all_meet(table, column.null_count)


def _unique(expectation: Expectation, table: pa.Table) -> Outcome | None:
    columns = list(expectation.columns)
    if any(table[name].null_count for name in columns):
        return None
    if all(_is_plain(table[name].type) for name in columns):
        # Eight bytes a row; two values that only hash alike are the library's to tell apart.
        hashes = [
            pl.DataFrame(batch).hash_rows(SEED).to_numpy()
            for batch in table.select(columns).to_batches()
        ]
        again = repeated(np.concatenate([np.empty(0, np.uint64), *hashes]))
        return None if again.any() else _all_meet(table)
    groups = table.select(columns).group_by(columns).aggregate([])
    return _all_meet(table) if groups.num_rows == table.num_rows else None


def _is_plain(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_integer(kind)


def _row_count(expectation: Expectation, table: pa.Table) -> Outcome | None:
    least, most = (expectation.kwargs.get(key) for key in ("min_value", "max_value"))
    if not set(expectation.kwargs) <= BETWEEN or not _numbers(least, most):
        return None
    rows = table.num_rows
    inside = rows >= (least or 0) and (most is None or rows <= most)
    return Outcome(True, observed=rows) if inside else None


def _exists(expectation: Expectation, table: pa.Table) -> Outcome | None:
    if set(expectation.kwargs) != {"column"}:
        return None
    return Outcome(True) if expectation.kwargs["column"] in table.column_names else None


CHECKS: dict[str, Callable[[Expectation, pa.Table], Outcome | None]] = {
    "expect_column_values_to_not_be_null": _not_null,
    "expect_column_value_lengths_to_be_between": _length_between,
    "expect_column_values_to_be_between": _value_between,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_be_unique": _unique,
    "expect_compound_columns_to_be_unique": _unique,
    "expect_table_row_count_to_be_between": _row_count,
    "expect_column_to_exist": _exists,
}
"""The expectations of the default suite, and the commonest others."""
