"""Records that fail a row expectation become rejects that say why."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from schemas.errors import UsageError
from tasks.validate import rows
from tasks.validate.rows import validate_part
from tasks.validate.suite import load_suite

NOT_NULL = "expect_column_values_to_not_be_null"
IN_SET = "expect_column_values_to_be_in_set"
BETWEEN = "expect_column_values_to_be_between"


def rejected(ref) -> list[dict]:
    return pq.read_table(ref.path).to_pylist()


def test_a_failing_row_is_rejected_with_column_value_and_what_was_expected(
    write_part, write_suite, make_spec, store
):
    part = write_part("docs", ["a", "b", "c"], lang=["en", "xx", "de"])
    spec = make_spec(suite=write_suite((IN_SET, {"column": "lang", "value_set": ["en", "de"]})))
    ref = validate_part(part, (), load_suite(spec), store)
    assert (ref.records, ref.items) == (1, 0)
    assert rejected(ref) == [
        {
            "source": "docs",
            "key": "k1",
            "kind": "text",
            "level": "record",
            "id": None,
            "stage": "validate",
            "reason": "expectation:expect_column_values_to_be_in_set",
            "detail": "lang = 'xx'; expected value_set=['en', 'de']",
            "uri": "file:///docs",
            "position": None,
            "part": part.digest,
            "row": 1,
        }
    ]


@pytest.mark.parametrize(
    ("type_", "kwargs", "columns", "failing", "detail"),
    [
        (NOT_NULL, {"column": "lang"}, {"lang": ["en", None]}, [1], "lang = null; expected"),
        (BETWEEN, {"column": "stars", "min_value": 1}, {"stars": [0, 3]}, [0], "stars = 0;"),
        (
            "expect_column_values_to_match_regex",
            {"column": "lang", "regex": "^[a-z]{2}(?!x)$"},
            {"lang": ["en", "english"]},
            [1],
            "lang = 'english'; expected regex=",
        ),
        (
            "expect_column_value_lengths_to_be_between",
            {"column": "text", "max_value": 3},
            {},
            [1],
            "text = 'second text'; expected max_value=3",
        ),
        (
            "expect_column_pair_values_a_to_be_greater_than_b",
            {"column_A": "stars", "column_B": "price"},
            {"stars": [5, 1], "price": [1.5, 2.5]},
            [1],
            "stars = 1, price = 2.5; expected column_pair",
        ),
        (
            "expect_column_pair_values_a_to_be_greater_than_b",
            {"column_A": "stars", "column_B": "price"},
            {"stars": [5, None], "price": [1.5, 2.5]},
            [1],
            "stars = null, price = 2.5; expected column_pair",
        ),
        (
            "expect_multicolumn_values_to_be_equal",
            {"column_list": ["text", "lang"]},
            {"lang": ["one", None]},
            [1],
            "text = 'second text', lang = null",
        ),
        (
            "expect_select_column_values_to_be_unique_within_record",
            {"column_list": ["text", "lang"]},
            {"lang": ["one", "x"]},
            [0],
            "text = 'one', lang = 'one'",
        ),
        (
            BETWEEN,
            {"column": "time", "min_value": "2026-01-01"},
            {"time": ["2025-12-31", "2026-01-01"]},
            [0],
            "time = ",
        ),
    ],
    ids=[
        "null",
        "between",
        "regex",
        "lengths",
        "pair",
        "pair-null",
        "equal-null",
        "within",
        "time",
    ],
)
def test_kinds_of_row_expectations(
    write_part, write_suite, make_spec, store, type_, kwargs, columns, failing, detail
):
    from datetime import UTC, datetime

    if "time" in columns:
        moments = [datetime.fromisoformat(day).replace(tzinfo=UTC) for day in columns["time"]]
        columns = {"time": moments}
    part = write_part("docs", ["one", "second text"], **columns)
    ref = validate_part(part, (), load_suite(make_spec(suite=write_suite((type_, kwargs)))), store)
    found = rejected(ref)
    assert [r["row"] for r in found] == failing
    assert found[0]["reason"] == f"expectation:{type_}"
    assert found[0]["detail"].startswith(detail)


def test_a_record_is_rejected_once_for_the_first_expectation_it_fails(
    write_part, write_suite, make_spec, store
):
    part = write_part("docs", ["a"], lang=["xx"], stars=[-1])
    suite = write_suite(
        (BETWEEN, {"column": "stars", "min_value": 0}),
        (IN_SET, {"column": "lang", "value_set": ["en"]}),
    )
    (reject,) = rejected(validate_part(part, (), load_suite(make_spec(suite=suite)), store))
    assert reject["reason"] == f"expectation:{BETWEEN}"


def test_the_result_does_not_depend_on_the_batch_size(
    write_part, write_suite, make_spec, store, monkeypatch, tmp_path
):
    from tasks.store.workdir import Store

    part = write_part("docs", ["t"] * 50, stars=list(range(50)))
    suite = load_suite(
        make_spec(
            suite=write_suite((BETWEEN, {"column": "stars", "min_value": 7, "max_value": 41}))
        )
    )
    whole = rejected(validate_part(part, (), suite, store))
    monkeypatch.setattr(rows, "ROWS_AT_ONCE", 7)
    assert rejected(validate_part(part, (), suite, Store(str(tmp_path / "other")))) == whole
    assert [r["row"] for r in whole] == [*range(7), *range(42, 50)]


def test_rows_taken_out_before_are_not_judged(write_part, make_spec, store, reject):
    part = write_part("docs", [None, None, "fine"])
    suite = load_suite(make_spec())
    ref = validate_part(part, (reject(part, {0: "repeated-key"}),), suite, store)
    assert [r["row"] for r in rejected(ref)] == [1]


def test_an_expectation_can_be_about_one_source(write_part, write_suite, make_spec, store):
    suite = write_suite(
        (BETWEEN, {"column": "size", "min_value": 9}, {"meta": {"vecmill": {"source": "photos"}}})
    )
    suite = load_suite(make_spec(images=True, suite=suite))
    docs, photos = write_part("docs", ["a"]), write_part("photos", [64], kind="image")
    assert validate_part(docs, (), suite, store).records == 0
    assert validate_part(photos, (), suite, store).records == 1


def test_a_column_of_one_kind_is_judged_on_that_kind_alone(
    write_part, write_suite, make_spec, store
):
    suite = write_suite(
        (BETWEEN, {"column": "width", "min_value": 100}), (NOT_NULL, {"column": "text"})
    )
    suite = load_suite(make_spec(images=True, suite=suite))
    docs, photos = write_part("docs", ["a"]), write_part("photos", [64, 640], kind="image")
    assert validate_part(docs, (), suite, store).records == 0
    (reject,) = rejected(validate_part(photos, (), suite, store))
    assert (reject["key"], reject["detail"]) == ("k0", "width = 64; expected min_value=100")


def test_the_default_suite_rejects_what_no_reader_should_have_let_through(
    write_part, make_spec, store
):
    suite = load_suite(make_spec(images=True))
    docs = write_part("docs", ["fine", "", None])
    photos = write_part("photos", [640, 3], kind="image", height=[640, 640])
    assert [r["row"] for r in rejected(validate_part(docs, (), suite, store))] == [1, 2]
    (small,) = rejected(validate_part(photos, (), suite, store))
    assert small["detail"] == "width = 3; expected min_value=16"


def test_a_file_that_exists_is_not_made_again(write_part, make_spec, store):
    part = write_part("docs", ["fine", ""])
    suite = load_suite(make_spec())
    first = validate_part(part, (), suite, store)
    Path(part.path).unlink()  # so that making it again would fail
    assert validate_part(part, (), suite, store) == first


def test_an_expectation_that_does_not_fit_its_column_is_an_error_and_no_reject(
    write_part, write_suite, make_spec, store
):
    part = write_part("docs", ["a"], lang=["en"])
    suite = write_suite((BETWEEN, {"column": "lang", "min_value": 3}))
    with pytest.raises(UsageError, match=r"suite\.json: expect_column_values_to_be_between\(colum"):
        validate_part(part, (), load_suite(make_spec(suite=suite)), store)
    assert store.files("rejects") == []
