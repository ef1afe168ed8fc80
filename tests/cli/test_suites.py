"""A suite of Great Expectations through whole builds: what rejects, what refuses, what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from made_specs import PLAIN

LANGUAGES = ["en", "de", "fr", "en", "xx"]


@pytest.fixture
def space(tmp_path, minilm):
    """Two sources of five notes each; `space(entries, …)` writes the suite and the spec."""
    for source in ("notes", "letters"):
        lines = [
            json.dumps({"id": i, "text": f"{source} number {i}", "lang": lang, "stars": i})
            for i, lang in enumerate(LANGUAGES)
        ]
        (tmp_path / f"{source}.jsonl").write_text("\n".join(lines))

    def write(*entries: tuple, share: float = 1.0) -> Path:
        expectations = [
            {"type": entry[0], "kwargs": entry[1], **(entry[2] if len(entry) > 2 else {})}
            for entry in entries
        ]
        suite = {"name": "mine", "expectations": expectations}
        (tmp_path / "suite.json").write_text(json.dumps(suite))
        table = {"kind": "text", "key": "id", "text": "text", "columns": ["lang", "stars"]}
        spec = {
            "space": "judged",
            "uri": "./db",
            "workdir": "./work",
            "sources": [
                {"name": name, "path": f"{name}.jsonl", **table} for name in ("notes", "letters")
            ],
            **PLAIN,
            "embedder": {
                "kind": "sentence-transformers",
                "model": minilm,
                "engine": "torch",
                "precision": "fp32",
            },
            "expectations": {"suite": "suite.json", "max_reject_share": share},
        }
        (tmp_path / "space.yaml").write_text(yaml.safe_dump(spec))
        return tmp_path / "space.yaml"

    return write


KNOWN_LANGUAGE = (
    "expect_column_values_to_be_in_set",
    {"column": "lang", "value_set": ["en", "de", "fr"]},
)
ONE_SOURCE = {"meta": {"vecmill": {"source": "letters"}}}
HIGHEST = ("expect_column_max_to_be_between", {"column": "stars", "max_value": 3})


def test_rows_of_one_source_are_rejected_and_the_rest_is_published(space, vecmill):
    spec = space((*KNOWN_LANGUAGE, ONE_SOURCE))
    done = vecmill("build", spec, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["counts"]["rows"] == 9
    shown = vecmill("rejects", spec).out
    assert "expectation:expect_column_values_to_be_in_set  1 record, stage validate" in shown
    assert "letters:4  lang = 'xx'; expected value_set=['en', 'de', 'fr']" in shown


def test_a_failing_table_expectation_refuses_with_three_examples(space, vecmill):
    done = vecmill("build", space(HIGHEST))
    assert done.code == 3
    assert (
        "expected expect_column_max_to_be_between(column='stars', max_value=3); found 4; "
        "for example notes:4, letters:4, notes:3. Nothing was published"
    ) in done.err


def test_a_share_of_rows_may_fail_but_not_more(space, vecmill):
    name, kwargs = KNOWN_LANGUAGE
    assert vecmill("build", space((name, {**kwargs, "mostly": 0.8}))).code == 0
    done = vecmill("build", space((name, {**kwargs, "mostly": 0.9})))
    assert done.code == 3
    assert "2 of 10 records do not meet it; for example notes:4, letters:4" in done.err


def test_a_warning_is_told_and_refuses_nothing(space, vecmill):
    done = vecmill("build", space((*HIGHEST, {"severity": "warning"})), "--json")
    assert done.code == 0
    [failed] = [audit for audit in json.loads(done.out)["audits"] if not audit["passed"]]
    assert (failed["severity"], failed["value"]) == ("warn", 4.0)


def test_too_many_rejects_in_one_source_refuse(space, vecmill):
    done = vecmill("build", space((*KNOWN_LANGUAGE, ONE_SOURCE), share=0.1))
    assert done.code == 3
    assert "refused by max_reject_share:letters" in done.err
    assert "1 of 5 records of 'letters' were rejected; for example '4': expectation:" in done.err


def test_what_cannot_be_judged_is_refused_by_name_before_anything_runs(space, vecmill):
    spec = space(
        ("expect_column_values_to_match_like_pattern", {"column": "lang", "like_pattern": "e%"}),
        ("expect_column_values_to_be_in_sett", {"column": "lang", "value_set": []}),
        ("expect_column_values_to_be_between", {"column": "width", "min_value": 1}),
    )
    done = vecmill("build", spec)
    assert done.code == 2
    for said in (
        "expect_column_values_to_match_like_pattern: cannot be judged on records",
        "did you mean 'expect_column_values_to_be_in_set'?",
        "no record of notes, letters has the column 'width'",
    ):
        assert said in done.err
    assert sorted(path.name for path in spec.parent.iterdir()) == [
        *("letters.jsonl", "notes.jsonl", "space.yaml", "suite.json", "work"),
    ]
    assert [path.name for path in (spec.parent / "work").rglob("*")] == ["leases"]
