"""What the shortcut calls met, Great Expectations calls met, with the same figures."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tasks.validate.catalog import KNOWN
from tasks.validate.expectation import Expectation
from tasks.validate.gx import judge_by_library
from tasks.validate.shortcut import CHECKS, surely_met

COLUMNS = {
    "good": pa.array(["en", "de", "é€"]),
    "gaps": pa.array(["en", None, "de"]),
    "nulls": pa.array([None, None, None], pa.string()),
    "twice": pa.array(["en", "en", "de"]),
    "empty": pa.array(["", "a", "bb"]),
    "numbers": pa.array([3, 1, 2]),
    "some": pa.array([3, None, 2]),
    "floats": pa.array([1.0, float("nan"), 2.0]),
}
TABLE = pa.table({"row": pa.array(range(3), pa.int64()), **COLUMNS})

ARGUMENTS = {
    "expect_column_values_to_not_be_null": [{}],
    "expect_column_value_lengths_to_be_between": [
        {"min_value": 2, "max_value": 2},
        {"min_value": 1},
        {"max_value": 2, "mostly": 0.5},
        {"min_value": 1, "strict_min": True},
    ],
    "expect_column_values_to_be_between": [
        {"min_value": 1, "max_value": 3},
        {"max_value": 2.5},
        {"min_value": 1, "strict_min": True},
    ],
    "expect_column_values_to_be_in_set": [{"value_set": ["en", "de", "é€"]}, {"value_set": [1]}],
    "expect_column_values_to_be_unique": [{}],
    "expect_compound_columns_to_be_unique": [{}],
    "expect_table_row_count_to_be_between": [{"min_value": 3}, {"max_value": 2}, {"min_value": 0}],
    "expect_column_to_exist": [{"column": "good"}, {"column": "absent"}],
}


def expectations() -> list[Expectation]:
    made = []
    for name, variants in ARGUMENTS.items():
        for kwargs in variants:
            if "column" not in KNOWN[name].needs or "column" in kwargs:
                columns = ("good", "twice") if "column_list" in KNOWN[name].needs else ()
                extra = {"column_list": list(columns)} if columns else {}
                made.append(Expectation(name, "row", {**extra, **kwargs}, columns))
                continue
            made += [Expectation(name, "row", {"column": c, **kwargs}, (c,)) for c in COLUMNS]
    return made


def test_every_shortcut_is_compared():
    assert set(ARGUMENTS) == set(CHECKS)


def test_the_shortcut_agrees_with_the_library():
    short = [(e, surely_met(e, TABLE)) for e in expectations()]
    sure = [(e, outcome) for e, outcome in short if outcome is not None]
    assert len(sure) > 20
    found = judge_by_library(TABLE, [e for e, _ in sure], "the suite")
    for (expectation, outcome), theirs in zip(sure, found, strict=True):
        assert outcome == theirs, expectation.expected


@pytest.mark.parametrize(
    ("type_", "kwargs", "columns"),
    [
        ("expect_column_values_to_not_be_null", {"column": "gaps"}, ("gaps",)),
        ("expect_column_value_lengths_to_be_between", {"min_value": 1}, ("empty",)),
        ("expect_column_values_to_be_between", {"max_value": 2}, ("numbers",)),
        ("expect_column_values_to_be_in_set", {"value_set": ["en"]}, ("gaps",)),
        ("expect_column_values_to_be_unique", {}, ("twice",)),
        ("expect_table_row_count_to_be_between", {"min_value": 4}, ()),
        ("expect_column_to_exist", {"column": "absent"}, ()),
    ],
)
def test_what_fails_is_left_to_the_library(type_, kwargs, columns):
    assert surely_met(Expectation(type_, "row", kwargs, columns), TABLE) is None
