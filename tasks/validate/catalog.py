"""The expectations of Great Expectations that vecmill knows, and where each can be judged.

Written out rather than asked of the library, whose import takes five seconds; a test keeps the two
in step. What a row alone decides is judged batch by batch (`row`); what needs all values of its
columns, over those columns of the current state (`table`); what asks for columns, on the columns
that the spec declares (`columns`). The rest is refused by name, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["row", "table", "columns"]


@dataclass(frozen=True)
class Entry:
    """One type of expectation: its level and its arguments (those of `needs` must be given)."""

    level: Level
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The arguments that name columns."""
        return tuple(name for name in self.needs if name in COLUMN_ARGUMENTS)


COLUMN_ARGUMENTS = ("column", "column_A", "column_B", "column_list")

_BOUNDS = ("min_value", "max_value", "strict_min", "strict_max")
_MOSTLY = ("mostly",)
_SKIP = ("mostly", "ignore_row_if")


def _row(*needs: str, takes: tuple[str, ...] = ()) -> Entry:
    return Entry("row", ("column", *needs), (*_MOSTLY, *takes))


def _aggregate(*needs: str, takes: tuple[str, ...] = ()) -> Entry:
    return Entry("table", ("column", *needs), takes)


def _pair(*needs: str, takes: tuple[str, ...] = ()) -> Entry:
    return Entry("row", ("column_A", "column_B", *needs), (*_SKIP, *takes))


def _several(level: Level, *needs: str) -> Entry:
    return Entry(level, ("column_list", *needs), _SKIP)


KNOWN: dict[str, Entry] = {
    # One value decides.
    "expect_column_value_lengths_to_be_between": _row(takes=_BOUNDS),
    "expect_column_value_lengths_to_equal": _row("value"),
    "expect_column_values_to_be_between": _row(takes=_BOUNDS),
    "expect_column_values_to_be_dateutil_parseable": _row(),
    "expect_column_values_to_be_in_set": _row("value_set"),
    "expect_column_values_to_be_json_parseable": _row(),
    "expect_column_values_to_be_null": _row(),
    "expect_column_values_to_match_json_schema": _row("json_schema"),
    "expect_column_values_to_match_regex": _row("regex"),
    "expect_column_values_to_match_regex_list": _row("regex_list", takes=("match_on",)),
    "expect_column_values_to_match_strftime_format": _row("strftime_format"),
    "expect_column_values_to_not_be_in_set": _row("value_set"),
    "expect_column_values_to_not_be_null": _row(),
    "expect_column_values_to_not_match_regex": _row("regex"),
    "expect_column_values_to_not_match_regex_list": _row("regex_list"),
    # One row decides.
    "expect_column_pair_values_a_to_be_greater_than_b": _pair(takes=("or_equal",)),
    "expect_column_pair_values_to_be_equal": _pair(),
    "expect_column_pair_values_to_be_in_set": _pair("value_pairs_set"),
    "expect_multicolumn_sum_to_equal": _several("row", "sum_total"),
    "expect_multicolumn_values_to_be_equal": _several("row"),
    "expect_select_column_values_to_be_unique_within_record": _several("row"),
    # The whole column decides.
    "expect_column_values_to_be_unique": Entry("table", ("column",), _MOSTLY),
    "expect_column_values_to_be_increasing": Entry("table", ("column",), (*_MOSTLY, "strictly")),
    "expect_column_values_to_be_decreasing": Entry("table", ("column",), (*_MOSTLY, "strictly")),
    "expect_column_value_z_scores_to_be_less_than": Entry(
        "table", ("column", "threshold", "double_sided"), _MOSTLY
    ),
    "expect_column_values_to_not_be_outliers": Entry(
        "table", ("column",), (*_MOSTLY, "method", "multiplier")
    ),
    "expect_compound_columns_to_be_unique": _several("table"),
    "expect_column_distinct_values_to_be_in_set": _aggregate("value_set"),
    "expect_column_distinct_values_to_contain_set": _aggregate("value_set"),
    "expect_column_distinct_values_to_equal_set": _aggregate("value_set"),
    "expect_column_kl_divergence_to_be_less_than": _aggregate(
        takes=(
            *("partition_object", "threshold", "internal_weight_holdout", "tail_weight_holdout"),
            *("bucketize_data", "min_value", "max_value"),
        )
    ),
    "expect_column_max_to_be_between": _aggregate(takes=_BOUNDS),
    "expect_column_mean_to_be_between": _aggregate(takes=_BOUNDS),
    "expect_column_median_to_be_between": _aggregate(takes=_BOUNDS),
    "expect_column_min_to_be_between": _aggregate(takes=_BOUNDS),
    "expect_column_most_common_value_to_be_in_set": _aggregate("value_set", takes=("ties_okay",)),
    "expect_column_proportion_of_non_null_values_to_be_between": _aggregate(takes=_BOUNDS),
    "expect_column_proportion_of_unique_values_to_be_between": _aggregate(takes=_BOUNDS),
    "expect_column_quantile_values_to_be_between": _aggregate(
        "quantile_ranges", takes=("allow_relative_error",)
    ),
    "expect_column_stdev_to_be_between": _aggregate(takes=_BOUNDS),
    "expect_column_sum_to_be_between": _aggregate(takes=_BOUNDS),
    "expect_column_unique_value_count_to_be_between": _aggregate(takes=_BOUNDS),
    "expect_table_row_count_to_be_between": Entry("table", (), _BOUNDS),
    "expect_table_row_count_to_equal": Entry("table", ("value",)),
    # The spec decides.
    "expect_column_to_exist": Entry("columns", ("column",), ("column_index",)),
    "expect_table_column_count_to_be_between": Entry("columns", (), ("min_value", "max_value")),
    "expect_table_column_count_to_equal": Entry("columns", ("value",)),
    "expect_table_columns_to_match_ordered_list": Entry("columns", ("column_list",)),
    "expect_table_columns_to_match_set": Entry("columns", ("column_set",), ("exact_match",)),
}

_PATTERN = "Great Expectations has no LIKE for data frames: write it as a regular expression"
_TYPE = "a column's type is stated in the spec: sources[].columns: {name, as, type}"
_QUERY = "it runs SQL in a database, and records are none"

REFUSED: dict[str, str] = {
    "expect_column_values_to_match_like_pattern": _PATTERN,
    "expect_column_values_to_match_like_pattern_list": _PATTERN,
    "expect_column_values_to_not_match_like_pattern": _PATTERN,
    "expect_column_values_to_not_match_like_pattern_list": _PATTERN,
    "expect_column_type_to_be": _TYPE,
    "expect_column_values_to_be_of_type": _TYPE,
    "expect_column_values_to_be_in_type_list": _TYPE,
    "expect_query_results_to_match_comparison": _QUERY,
    "expect_table_row_count_to_equal_other_table": _QUERY,
    "unexpected_rows_expectation": _QUERY,
}
"""Types that can be judged neither batch by batch nor on projected columns, and why."""

REFUSED_SETTINGS: dict[str, str] = {
    "row_condition": "restrict it to one source with meta: {'vecmill': {'source': …}}",
    "condition_parser": "restrict it to one source with meta: {'vecmill': {'source': …}}",
    "batch_id": "vecmill cuts the batches itself",
    "windows": "vecmill keeps no history of metrics",
}
"""Settings that cannot be honoured, and what to do instead; null ones are ignored."""

SAID_OTHERWISE = frozenset(
    {"result_format", "catch_exceptions", "library_metadata", "rendered_content"}
)
"""Settings of how a result is told, not of what is expected: vecmill tells it in its own way."""
