"""`versions` and `diff` on releases that builds made."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def two(notes, texts):
    """Two releases: one note gone, one edited, one with another language, one new copy."""
    languages = dict.fromkeys(texts, "en")
    notes.source(columns=["lang"])
    notes.write(texts, lang=languages)
    notes.build()
    later = {**texts, "n3": f"{texts['n3']} w7", "copy": texts["n0"]}
    del later["n7"]
    notes.write(later, lang={**languages, "copy": "en", "n4": "de"})
    notes.build()
    return notes


def test_diff_says_what_changed(two, texts):
    document = json.loads(two.command("diff", "--json").out)
    assert document["counts"] == {
        "added": 1,
        "removed": 1,
        "changed": 1,
        "metadata_only": 1,
        "rejudged": 1,
        "moved": 0,
        "unchanged": 26,
    }
    assert document["sources"] == [{"name": "docs", **document["counts"]}]
    assert document["columns"] == []
    assert (document["before"]["release"], document["after"]["release"]) == ("v0001", "v0002")
    assert (document["before"]["rows"], document["after"]["rows"]) == (30, 30)
    assert document["examples"] == {
        "added": [{"id": "docs:copy", "before": None, "after": texts["n0"], "columns": {}}],
        "removed": [{"id": "docs:n7", "before": texts["n7"], "after": None, "columns": {}}],
        "changed": [
            {
                "id": "docs:n3",
                "before": texts["n3"],
                "after": f"{texts['n3']} w7",
                "columns": {"end": [len(texts["n3"]), len(texts["n3"]) + 3]},
            }
        ],
        "metadata_only": [
            {
                "id": "docs:n4",
                "before": texts["n4"],
                "after": texts["n4"],
                "columns": {"lang": ["en", "de"]},
            }
        ],
        "rejudged": [
            {
                "id": "docs:n0",
                "before": texts["n0"],
                "after": texts["n0"],
                "columns": {
                    "duplicate_of": [None, "docs:copy"],
                    "duplicate_kind": [None, "exact"],
                    "duplicate_score": [None, 1.0],
                },
            }
        ],
        "moved": [],
    }


def test_diff_the_other_way_and_against_itself(two):
    back = json.loads(two.command("diff", "v0002", "v0001", "--examples", "0", "--json").out)
    assert (back["counts"]["added"], back["counts"]["removed"]) == (1, 1)
    assert back["examples"]["added"] == []
    same = json.loads(two.command("diff", "prod", "v0002", "--json").out)
    assert same["counts"]["unchanged"] == 30


def test_diff_for_people(two, texts):
    answer = two.command("diff")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0] == "v0001 → v0002"
    assert lines[1].split()[:4] == ["source", "added", "removed", "changed"]
    assert "changed  docs:n3" in lines
    assert f"    - {texts['n3']}" in lines
    assert f"    + {texts['n3']} w7" in lines
    assert "    lang: en → de" in lines


def test_diff_names_columns_that_changed(two):
    two.source(columns=[{"name": "lang", "as": "tongue"}])
    two.build()
    answer = two.command("diff")
    assert "column lang: string → none" in answer.out
    assert "column tongue: none → string" in answer.out


def test_diff_of_what_is_not_there(notes):
    assert "has no release yet" in notes.command("diff").err
    notes.build()
    answer = notes.command("diff")
    assert (answer.code, "no release before v0001" in answer.err) == (2, True)
    answer = notes.command("diff", "v0007")
    assert (answer.code, "no release or tag 'v0007'" in answer.err) == (2, True)


def test_versions_show_rollbacks_and_the_hold(two):
    document = json.loads(two.command("versions", "--json").out)
    assert (document["hold"], len(document["releases"])) == (None, 2)
    assert "rollback" not in two.command("versions").out
    two.command("rollback", "--reason", "n7 is gone", "--who", "ada")
    out = two.command("versions").out
    newest = out.splitlines()[1]
    assert newest.startswith("v0003")
    assert "prod" in newest
    assert newest.rstrip().endswith("rollback to v0001")
    assert "'notes' is held by ada since" in out
    assert "n7 is gone" in out
    document = json.loads(two.command("versions", "--json").out)
    assert document["releases"][-1]["rollback_to"] == "v0001"
    assert document["releases"][-1]["tags"] == ["data-v0003", "prod", "v0003"]
    assert (document["hold"]["who"], set(document["hold"])) == ("ada", {"reason", "who", "at"})


def test_hold_and_release(notes, texts):
    answer = notes.command("release-hold")
    assert (answer.code, "is not held" in answer.err) == (2, True)
    assert notes.command("hold", "--reason", "wait", "--who", "ada").code == 0
    before = notes.tables()
    again = notes.command("hold", "--reason", "me too", "--who", "bob")
    assert (again.code, "nothing was changed" in again.out) == (0, True)
    assert "is held by ada" in again.out
    assert notes.tables() == before
    answer = notes.command("build")
    assert (answer.code, "wait (ada" in answer.err) == (2, True)
    answer = notes.command("release-hold", "--reason", "done", "--json")
    assert json.loads(answer.out) == {"space": "notes", "hold": None}
    assert notes.command("build").code == 0
    said = json.loads(notes.command("hold", "--reason", "again", "--json").out)
    assert said["hold"]["reason"] == "again"
    assert "@" in said["hold"]["who"]


def test_a_hold_wants_a_reason(notes):
    answer = notes.command("hold")
    assert (answer.code, "--reason" in answer.err) == (2, True)
    answer = notes.command("hold", "--reason", " ")
    assert (answer.code, "--reason ' ' of `hold` says nothing" in answer.err) == (2, True)
