"""The suite of a space: the user's Great Expectations JSON, or a default derived from the spec.

`load_suite` refuses by name what cannot be judged, before anything runs. It needs the library only
to check the values of a suite that it has not seen before.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

from schemas.identity import RULES_VERSION, digest_json
from schemas.spec import SourceSpec, SpaceSpec
from tasks.store.pictures import MIN_SIDE
from tasks.store.workdir import Store
from tasks.validate.expectation import Expectation

MAX_TEXT = 8 * 1024 * 1024
"""Code points of the longest text: what ingest takes as one record (a test compares the two)."""

KIND_COLUMNS = {
    "text": ("source", "key", "kind", "uri", "text", "size", "time"),
    "image": ("source", "key", "kind", "uri", "size", "width", "height", "time"),
}
"""What expectations can see of a record, besides the user's columns."""


@dataclass(frozen=True)
class Suite:
    """What the records must look like. `row` rejects records; `table` may refuse the build."""

    row: tuple[Expectation, ...]
    table: tuple[Expectation, ...]
    origin: str = "the default suite"  # for messages

    @property
    def row_digest(self) -> str:
        """Names what is expected of single records."""
        return self._digest(self.row)

    @property
    def digest(self) -> str:
        """Names the whole suite."""
        return self._digest((*self.row, *self.table))

    def _digest(self, expectations: tuple[Expectation, ...]) -> str:
        library = version("great-expectations")
        return digest_json([RULES_VERSION, library, [e.identity() for e in expectations]])

    def rows_of(self, source: str) -> tuple[Expectation, ...]:
        """The row expectations that are about a source."""
        return tuple(e for e in self.row if source in e.sources)


def visible_columns(source: SourceSpec) -> tuple[str, ...]:
    """The columns of the source's records that an expectation may name."""
    return (*KIND_COLUMNS[source.kind], *(column.target for column in source.columns))


def load_suite(spec: SpaceSpec, store: Store | None = None) -> Suite:
    """The user's suite, or the default one; `min_rows` is expected in either case.

    With a `store`, values that were found right once are not checked again. Raises `UsageError`
    that lists every expectation that is unknown, wrong, or cannot be judged.
    """
    from tasks.validate.suite_file import read_suite

    if spec.expectations.suite is None:
        return Suite(row=_default_rows(spec), table=(*_default_table(spec), *_min_rows(spec)))
    found = read_suite(spec.expectations.suite, spec, store)
    return Suite(
        row=tuple(e for e in found if e.level == "row"),
        table=(*(e for e in found if e.level != "row"), *_min_rows(spec)),
        origin=spec.expectations.suite,
    )


def _default_rows(spec: SpaceSpec) -> tuple[Expectation, ...]:
    everywhere = tuple(source.name for source in spec.sources)
    texts = tuple(source.name for source in spec.sources if source.kind == "text")
    images = tuple(source.name for source in spec.sources if source.kind == "image")
    wanted = [("expect_column_values_to_not_be_null", "key", {}, everywhere)]
    if texts:
        bounds = {"min_value": 1, "max_value": MAX_TEXT}
        wanted += [
            ("expect_column_values_to_not_be_null", "text", {}, texts),
            ("expect_column_value_lengths_to_be_between", "text", bounds, texts),
        ]
    if images:
        bounds = {"min_value": MIN_SIDE}
        wanted += [
            ("expect_column_values_to_be_between", side, bounds, images)
            for side in ("width", "height")
        ]
    return tuple(
        Expectation(name, "row", {"column": column, **kwargs}, (column,), sources)
        for name, column, kwargs, sources in wanted
    )


def _default_table(spec: SpaceSpec) -> tuple[Expectation, ...]:
    everywhere = tuple(source.name for source in spec.sources)
    key = ("source", "key")
    unique = Expectation(
        "expect_compound_columns_to_be_unique", "table", {"column_list": [*key]}, key, everywhere
    )
    declared = [
        Expectation("expect_column_to_exist", "columns", {"column": c}, (c,), (source.name,))
        for source in spec.sources
        for c in (column.target for column in source.columns)
    ]
    return (unique, *declared)


def _min_rows(spec: SpaceSpec) -> tuple[Expectation, ...]:
    least = spec.expectations.min_rows
    if not least:
        return ()
    everywhere = tuple(source.name for source in spec.sources)
    name = "expect_table_row_count_to_be_between"
    return (Expectation(name, "table", {"min_value": least}, (), everywhere),)
