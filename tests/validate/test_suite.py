"""A suite is read, understood and refused before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.errors import UsageError
from tasks.ingest.record_checks import MAX_TEXT as INGEST_MAX_TEXT
from tasks.validate import suite_file
from tasks.validate.catalog import KNOWN, REFUSED, REFUSED_SETTINGS, SAID_OTHERWISE
from tasks.validate.suite import MAX_TEXT, load_suite

NOT_NULL = "expect_column_values_to_not_be_null"
BETWEEN = "expect_column_values_to_be_between"
IN_SET = "expect_column_values_to_be_in_set"


def test_without_a_suite_one_is_derived_from_the_spec(make_spec):
    suite = load_suite(make_spec(images=True, min_rows=2))
    assert [(e.type, e.columns, e.sources) for e in suite.row] == [
        (NOT_NULL, ("key",), ("docs", "photos")),
        (NOT_NULL, ("text",), ("docs",)),
        ("expect_column_value_lengths_to_be_between", ("text",), ("docs",)),
        (BETWEEN, ("width",), ("photos",)),
        (BETWEEN, ("height",), ("photos",)),
    ]
    assert [(e.type, e.kwargs) for e in suite.table] == [
        ("expect_compound_columns_to_be_unique", {"column_list": ["source", "key"]}),
        ("expect_column_to_exist", {"column": "lang"}),
        ("expect_column_to_exist", {"column": "stars"}),
        ("expect_column_to_exist", {"column": "price"}),
        ("expect_table_row_count_to_be_between", {"min_value": 2}),
    ]
    assert MAX_TEXT == INGEST_MAX_TEXT


def test_what_great_expectations_writes_is_read(make_spec, tmp_path):
    import great_expectations as gx
    import great_expectations.expectations as gxe

    suite = gx.ExpectationSuite(
        name="mine",
        expectations=[
            gxe.ExpectColumnValuesToNotBeNull(column="lang", notes="why", severity="critical"),
            gxe.ExpectColumnMeanToBeBetween(column="stars", min_value=1, max_value=5),
        ],
    )
    path = tmp_path / "suite.json"
    path.write_text(json.dumps(suite.to_json_dict()))
    read = load_suite(make_spec(suite=str(path), min_rows=0))
    assert [e.expected for e in read.row] == [f"{NOT_NULL}(column='lang')"]
    assert [e.expected for e in read.table] == [
        "expect_column_mean_to_be_between(column='stars', min_value=1.0, max_value=5.0)"
    ]


def test_where_an_expectation_is_judged(write_suite, make_spec):
    suite = write_suite(
        (NOT_NULL, {"column": "lang"}),
        (NOT_NULL, {"column": "text", "mostly": 1.0}),
        (NOT_NULL, {"column": "lang", "mostly": 0.5}),
        (NOT_NULL, {"column": "lang"}, {"severity": "info"}),
        ("expect_column_values_to_be_unique", {"column": "lang"}),
    )
    suite = load_suite(make_spec(suite=suite, min_rows=0))
    assert [e.columns for e in suite.row] == [("lang",), ("text",)]
    assert [(e.kwargs.get("mostly"), e.severity) for e in suite.table] == [
        (0.5, "refuse"),
        (None, "warn"),
        (None, "refuse"),
    ]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (("expect_column_values_to_be_nul", {}), r"no such expectation: did you mean 'expect_col"),
        ((IN_SET, {"column": "lang", "value_sets": []}), r"'value_sets': did you mean 'value_set'"),
        ((IN_SET, {"column": "lang"}), r"argument 'value_set' is missing"),
        ((IN_SET, {"column": "lang", "value_set": 7}), r"value_set 7: value is not a valid list"),
        ((BETWEEN, {"column": "stars"}), r"min_value and max_value cannot both be None"),
        ((NOT_NULL, {"column": "langs"}), r"has the column 'langs': did you mean 'lang'\?"),
        ((NOT_NULL, {"column": "width"}), r"no record of docs has the column 'width'"),
        ((NOT_NULL, {"column": 3}), r"3: expected a string"),
        ((NOT_NULL, {"column": "lang", "row_condition": "x"}), r"row_condition cannot be honoured"),
        ((NOT_NULL, {"column": "lang"}, {"batch_id": "x"}), r"batch_id cannot be honoured here"),
        ((NOT_NULL, {"column": "lang"}, {"windows": [{}]}), r"windows cannot be honoured here"),
        ((NOT_NULL, {"column": "lang"}, {"severity": "bad"}), r"severity 'bad': expected one of"),
        ((NOT_NULL, {"column": "lang"}, {"kwarg": 1}), r"'kwarg': did you mean 'kwargs'"),
        (
            (NOT_NULL, {"column": "lang"}, {"meta": {"vecmill": {"source": "doc"}}}),
            r"meta.vecmill {'source': 'doc'}: expected {'source': one of \['docs'\]}",
        ),
        (
            ("expect_column_values_to_match_regex", {"column": "lang", "regex": "["}),
            r"regex '\[' is no regular expression: unterminated",
        ),
        (
            (BETWEEN, {"column": "stars", "min_value": {"$PARAMETER": "least"}}),
            r"parameters are not supported",
        ),
        (
            ("unexpected_rows_expectation", {"unexpected_rows_query": "SELECT 1"}),
            r"unexpected_rows_expectation: cannot be judged on records: it runs SQL",
        ),
        (
            ("expect_column_values_to_match_like_pattern", {"column": "lang"}),
            r"cannot be judged on records: .*regular expression",
        ),
    ],
    ids=lambda value: None if isinstance(value, tuple) else "",
)
def test_a_wrong_expectation_is_refused_by_name(write_suite, make_spec, entry, message):
    spec = make_spec(suite=write_suite(entry))
    with pytest.raises(UsageError, match=message) as raised:
        load_suite(spec)
    assert str(raised.value).startswith(f"expectations.suite {spec.expectations.suite} cannot be")


def test_all_mistakes_are_told_at_once(write_suite, make_spec):
    suite = write_suite((NOT_NULL, {"column": "lang"}), ("nonsense", {}), (NOT_NULL, {}))
    with pytest.raises(UsageError) as raised:
        load_suite(make_spec(suite=suite))
    assert [line.split(":")[0] for line in str(raised.value).splitlines()[1:]] == [
        "  - expectations[1] nonsense",
        f"  - expectations[2] {NOT_NULL}",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        ("{", "not readable as JSON"),
        ("[]", "expected a Great Expectations suite"),
        ('{"name": "x", "expectation": []}', "expected a Great Expectations suite"),
        ('{"expectations": [], "nmae": "x"}', "'nmae': did you mean 'name'?"),
        ('{"expectations": [{"expectation_type": "x"}]}', "versions before 1.0"),
    ],
)
def test_a_file_that_is_no_suite(make_spec, tmp_path, content, message):
    path = tmp_path / "suite.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        load_suite(make_spec(suite=str(path)))


def test_a_suite_found_right_once_is_not_checked_again(write_suite, make_spec, store, monkeypatch):
    spec = make_spec(suite=write_suite((NOT_NULL, {"column": "lang"})))
    first = load_suite(spec, store)
    monkeypatch.setattr("tasks.validate.gx.wrong_values", lambda _: 1 / 0)
    assert load_suite(spec, store) == first


def test_the_catalogue_is_that_of_the_library(make_spec):
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

    assert set(KNOWN) | set(REFUSED) == set(list_registered_expectation_implementations())
    common = {"id", "meta", "notes", "description", "severity", *SAID_OTHERWISE, *REFUSED_SETTINGS}
    for name, entry in KNOWN.items():
        fields = get_expectation_impl(name).__fields__
        assert set(fields) - common == {*entry.needs, *entry.takes}, name
        required = {n for n, f in fields.items() if f.required}
        assert required <= set(entry.needs), name


def test_the_suite_is_named_by_what_it_expects(write_suite, make_spec):
    def name(*entries, **settings):
        return load_suite(make_spec(suite=write_suite(*entries), **settings))

    one = name((NOT_NULL, {"column": "lang"}))
    same = name((NOT_NULL, {"column": "lang"}, {"notes": "why"}))
    table = name((NOT_NULL, {"column": "lang"}), ("expect_column_to_exist", {"column": "lang"}))
    other = name((NOT_NULL, {"column": "text"}))
    assert one.digest == same.digest != table.digest
    assert one.row_digest == table.row_digest != other.row_digest


def test_every_module_of_the_stage_but_the_edge_leaves_the_library_alone():
    folder = Path(suite_file.__file__).parent
    naming = {
        path.name
        for path in folder.glob("*.py")
        for line in path.read_text().splitlines()
        if line.strip().startswith(("import great_exp", "from great_exp", "import pandas"))
    }
    assert naming == {"gx.py"}
