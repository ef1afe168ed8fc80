"""The state as a whole may refuse the build, and says which expectation and which records."""

from __future__ import annotations

import pytest

from schemas.errors import UsageError
from tasks.validate.state import validate_state
from tasks.validate.suite import load_suite

UNIQUE = "expect_column_values_to_be_unique"
COUNT = "expect_table_row_count_to_be_between"


@pytest.fixture
def judged(write_suite, make_spec, store):
    """Judge parts by one expectation: the verdict about it."""

    def judge(parts, type_, kwargs, rejects=(), images=False, **other):
        spec = make_spec(images=images, suite=write_suite((type_, kwargs, other)), min_rows=0)
        return validate_state(parts, rejects, load_suite(spec), spec, store)[0]

    return judge


def test_an_aggregate_covers_all_parts(write_part, judged):
    parts = [write_part("docs", ["a", "b"], stars=[1, 2]), write_part("docs", ["c"], stars=[9])]
    verdict = judged(
        parts, "expect_column_mean_to_be_between", {"column": "stars", "max_value": 3.5}
    )
    assert verdict.model_dump() == {
        "name": "expectation:expect_column_mean_to_be_between:stars",
        "value": 4.0,
        "threshold": 3.5,
        "passed": False,
        "severity": "refuse",
        "detail": "expected expect_column_mean_to_be_between(column='stars', max_value=3.5); "
        "found 4.0; for example docs:k0, docs:k1, docs:k0",
    }


def test_rows_taken_out_do_not_count(write_part, judged, reject):
    part = write_part("docs", ["a", "b", "c"], stars=[1, 2, 90])
    out = reject(part, {2: "repeated-key"})
    kwargs = {"column": "stars", "max_value": 2}
    assert not judged([part], "expect_column_max_to_be_between", kwargs).passed
    assert judged([part], "expect_column_max_to_be_between", kwargs, rejects=[out]).passed


@pytest.mark.parametrize(
    ("type_", "kwargs", "value", "examples"),
    [
        (UNIQUE, {"column": "lang"}, 0.25, ["docs:k0", "docs:k1", "docs:k3"]),
        (
            "expect_compound_columns_to_be_unique",
            {"column_list": ["lang", "text"]},
            0.5,
            ["docs:k0", "docs:k3"],
        ),
        (
            "expect_column_max_to_be_between",
            {"column": "stars", "max_value": 5},
            9.0,
            ["docs:k2", "docs:k1", "docs:k0"],
        ),
        (
            "expect_column_min_to_be_between",
            {"column": "stars", "min_value": 2},
            1.0,
            ["docs:k0", "docs:k3", "docs:k1"],
        ),
        (
            "expect_column_distinct_values_to_be_in_set",
            {"column": "lang", "value_set": ["en"]},
            None,
            ["docs:k2"],
        ),
        (
            "expect_column_proportion_of_non_null_values_to_be_between",
            {"column": "price", "min_value": 0.9},
            0.75,
            ["docs:k1"],
        ),
        (
            "expect_column_values_to_be_increasing",
            {"column": "stars"},
            0.75,
            ["docs:k3"],
        ),
        (COUNT, {"min_value": 10}, 4.0, ["docs:k0", "docs:k1", "docs:k2"]),
        ("expect_column_sum_to_be_between", {"column": "stars", "max_value": 3}, 13.0, None),
        ("expect_column_median_to_be_between", {"column": "stars", "max_value": 1}, 1.5, None),
        ("expect_column_stdev_to_be_between", {"column": "stars", "max_value": 1}, None, None),
        (
            "expect_column_unique_value_count_to_be_between",
            {"column": "lang", "min_value": 3},
            2.0,
            ["docs:k0", "docs:k1", "docs:k3"],
        ),
        (
            "expect_column_quantile_values_to_be_between",
            {
                "column": "stars",
                "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[7, 8]]},
            },
            None,
            None,
        ),
        (
            "expect_column_most_common_value_to_be_in_set",
            {"column": "lang", "value_set": ["de"]},
            None,
            ["docs:k0", "docs:k1", "docs:k3"],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_failing_table_expectation_names_three_records(
    write_part, judged, type_, kwargs, value, examples
):
    part = write_part(
        "docs",
        ["a", "b", "c", "a"],
        lang=["en", "en", "de", "en"],
        stars=[1, 2, 9, 1],
        price=[1.0, None, 2.0, 3.0],
    )
    verdict = judged([part], type_, kwargs)
    assert not verdict.passed
    assert verdict.refuses
    assert value is None or verdict.value == pytest.approx(value)
    shown = verdict.detail.split("; for example ")[1].split(", ")
    assert shown == examples if examples else len(shown) == 3


def test_a_passing_one_says_what_was_found(write_part, judged):
    verdict = judged([write_part("docs", ["a", "b"])], COUNT, {"min_value": 1})
    assert verdict.passed
    assert (verdict.value, verdict.threshold) == (2.0, 1.0)
    assert "for example" not in verdict.detail


def test_mostly_judges_a_share_over_the_state_and_rejects_nothing(write_part, judged):
    part = write_part("docs", list("abcd"), lang=["en", "en", "en", "xx"])
    kwargs = {"column": "lang", "value_set": ["en"], "mostly": 0.7}
    verdict = judged([part], "expect_column_values_to_be_in_set", kwargs)
    assert (verdict.passed, verdict.value, verdict.threshold) == (True, 0.75, 0.7)
    verdict = judged([part], "expect_column_values_to_be_in_set", {**kwargs, "mostly": 0.8})
    assert verdict.refuses
    assert verdict.detail.endswith("1 of 4 records do not meet it; for example docs:k3")


def test_a_warning_warns_and_does_not_refuse(write_part, judged):
    part = write_part("docs", ["a"], lang=["xx"])
    verdict = judged(
        [part],
        "expect_column_values_to_be_in_set",
        {"column": "lang", "value_set": ["en"]},
        severity="warning",
    )
    assert (verdict.passed, verdict.severity, verdict.refuses) == (False, "warn", False)


def test_declared_columns_are_judged_without_reading_a_record(judged):
    assert judged([], "expect_column_to_exist", {"column": "lang"}).passed
    verdict = judged([], "expect_column_to_exist", {"column": "owner"})
    assert verdict.refuses
    assert "source, key, kind, uri, text, size, time, lang, stars, price" in verdict.detail


def test_a_column_of_one_kind_is_taken_from_that_kind(write_part, judged):
    parts = [write_part("docs", ["a"]), write_part("photos", [64, 640], kind="image")]
    kwargs = {"column": "width", "min_value": 100}
    verdict = judged(parts, "expect_column_min_to_be_between", kwargs, images=True)
    assert (verdict.value, verdict.passed) == (64.0, False)
    assert "photos:k0, photos:k1" in verdict.detail


def test_an_aggregate_of_nothing_is_refused_and_no_error(write_part, judged, reject):
    part = write_part("docs", ["a"], stars=[1])
    out = reject(part, {0: "repeated-key"})
    kwargs = {"column": "stars", "min_value": 0}
    verdict = judged([part], "expect_column_mean_to_be_between", kwargs, rejects=[out])
    assert verdict.refuses
    assert verdict.detail.endswith("there is no usable record")


def test_one_that_cannot_be_computed_is_a_usage_error(write_part, judged):
    part = write_part("docs", ["a"], lang=["en"])
    with pytest.raises(UsageError, match=r"cannot be computed on these columns: .*mean"):
        judged([part], "expect_column_mean_to_be_between", {"column": "lang", "max_value": 1})


def test_min_rows_is_expected_with_any_suite(write_part, write_suite, make_spec, store):
    own = write_suite(("expect_column_to_exist", {"column": "lang"}))
    for spec in (make_spec(min_rows=3), make_spec(min_rows=3, suite=own)):
        parts = [write_part("docs", ["a", "b"], lang=["en", "de"])]
        verdicts = {v.name: v for v in validate_state(parts, (), load_suite(spec), spec, store)}
        verdict = verdicts[f"expectation:{COUNT}"]
        assert verdict.refuses
        assert (verdict.value, verdict.threshold) == (2.0, 3.0)


def test_the_share_of_rejects_is_judged_for_each_source(write_part, make_spec, store, reject):
    spec = make_spec(images=True, max_reject_share=0.25)
    docs = write_part("docs", ["a", "b", "c"])
    photos = write_part("photos", [64, 640, 640, 640], kind="image")
    rejects = [
        reject(docs, {0: "repeated-key", 1: "empty-text"}, "one"),
        reject(photos, {0: "image-too-small"}, "two"),
    ]
    verdicts = validate_state([docs, photos], rejects, load_suite(spec), spec, store)
    of_docs, of_photos = (v for v in verdicts if v.name.startswith("max_reject_share:"))
    assert of_docs.refuses
    assert of_docs.value == pytest.approx(2 / 3)
    assert of_docs.detail == (
        "2 of 3 records of 'docs' were rejected; for example 'k0': repeated-key; 'k1': empty-text"
    )
    assert of_photos.passed
    assert (of_photos.value, of_photos.threshold) == (0.25, 0.25)


def test_superseded_and_forgotten_records_are_outside_the_share(
    write_part, make_spec, store, reject
):
    spec = make_spec(max_reject_share=0.0)
    docs = write_part("docs", ["a", "b", "c"])
    rejects = [reject(docs, {0: "superseded", 1: "forgotten"})]
    share = validate_state([docs], rejects, load_suite(spec), spec, store)[-1]
    assert (share.value, share.passed) == (0.0, True)
    assert share.detail == "0 of 1 records of 'docs' were rejected"


def test_a_verdict_is_kept_until_what_it_depends_on_changes(
    write_part, make_spec, store, reject, monkeypatch
):
    spec = make_spec()
    parts = [write_part("docs", ["a", "b"], lang=["en", "de"], stars=[1, 2], price=[1.0, 2.0])]
    first = validate_state(parts, (), load_suite(spec), spec, store)
    assert all(verdict.passed for verdict in first)

    def again(*_):
        raise AssertionError("judged again")

    monkeypatch.setattr("tasks.validate.state._judge", again)
    assert validate_state(parts, (), load_suite(spec), spec, store) == first
    with pytest.raises(AssertionError, match="judged again"):
        validate_state(parts, (reject(parts[0], {0: "x"}),), load_suite(spec), spec, store)
    stricter = make_spec(max_reject_share=0.0)
    with pytest.raises(AssertionError, match="judged again"):
        validate_state(parts, (), load_suite(stricter), stricter, store)


def test_no_record_is_no_repeated_one(make_spec, write_part, store, reject):
    spec = make_spec(min_rows=0, max_reject_share=1.0)
    part = write_part("docs", ["a"], lang=["en"], stars=[1], price=[1.0])
    out = reject(part, {0: "repeated-key"})
    verdicts = validate_state([part], [out], load_suite(spec), spec, store)
    assert [verdict.name for verdict in verdicts if verdict.refuses] == []
