"""`accept`: a refusal waived for exactly one input, at each of the three places that refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flows.demo.fault import FaultyRunner
from flows.forget import forget_records
from flows.progress import StageBars
from made_words import sentence
from tasks.erase.asked import Request
from tasks.table.companions import read_builds, read_events, set_hold


def refused(notes, *gates: str) -> str:
    """Build, expect these refusals; the build's id."""
    outcome = notes.build()
    assert (outcome.exit_code, outcome.manifest.refused_by) == (3, gates), outcome.message
    return outcome.manifest.build_id


def accepted(notes, build: str) -> None:
    answer = notes.command("accept", build[:8], "--reason", "it is meant so", "--who", "ada")
    assert answer.code == 0, answer.err


def verdict(manifest, name: str):
    [found] = [audit for audit in manifest.audits if audit.name == name]
    return found


def published_by_waiver(notes, *gates: str):
    """Build, expect that it publishes, and that each gate still says what it found."""
    manifest = notes.build().manifest
    assert (manifest.published, manifest.refused_by) == (True, ())
    for gate in gates:
        found = verdict(manifest, gate)
        assert (found.passed, found.severity) == (False, "warn")
        assert found.detail.startswith("accepted by ada: it is meant so (")
    assert manifest.counts.problems() == []
    return manifest


def test_too_many_rejects(notes, texts):
    blanks = {f"blank{i}": "" for i in range(6)}
    notes.write({**texts, **blanks})
    accepted(notes, refused(notes, "max_reject_share:docs"))
    manifest = published_by_waiver(notes, "max_reject_share:docs")
    assert (manifest.counts.rows, manifest.counts.records_rejected) == (30, 6)
    before = notes.files()
    again = notes.build()
    assert (again.exit_code, again.manifest.published) == (0, False)
    assert notes.files() == before
    notes.write({**texts, **blanks, "fresh": sentence(300)})
    refused(notes, "max_reject_share:docs")
    assert len(notes.content()) == 30


def test_a_table_expectation(notes, texts):
    notes.changes["expectations"] = {"min_rows": 40}
    build = notes.build().manifest
    accepted(notes, build.build_id)
    published_by_waiver(notes, *build.refused_by)
    notes.changes["expectations"] = {"min_rows": 41}  # judged by another rule
    assert notes.build().exit_code == 3


def test_a_source_that_shrank(notes, texts):
    notes.build()
    few = dict(list(texts.items())[:20])
    notes.write(few)
    accepted(notes, refused(notes, "max_shrink:docs"))
    manifest = published_by_waiver(notes, "max_shrink:docs")
    assert (manifest.release, manifest.counts.removed) == ("v0002", 10)
    assert len(notes.content()) == 20
    assert notes.build().manifest.published is False
    notes.write(dict(list(texts.items())[:10]))
    refused(notes, "max_shrink:docs")
    assert len(notes.content()) == 20


def test_gates_on_the_candidate(notes, texts, spoiled):
    spoiled(lambda vectors: np.tile(vectors[:1] * 3, (len(vectors), 1)))
    accepted(notes, refused(notes, "norm", "collapse:text"))
    published_by_waiver(notes, "norm", "collapse:text")
    notes.write({**texts, "fresh": sentence(300)})
    refused(notes, "norm", "collapse:text")
    assert len(notes.content()) == 30


def test_refusals_at_two_places_are_accepted_one_after_the_other(notes, texts):
    notes.build()
    few = dict(list(texts.items())[:20])
    notes.write({**few, "blank": "", "empty": ""})
    accepted(notes, refused(notes, "max_reject_share:docs"))
    accepted(notes, refused(notes, "max_shrink:docs"))
    published_by_waiver(notes, "max_reject_share:docs", "max_shrink:docs")


def test_a_dry_run_knows_of_it(notes, texts):
    notes.write({**texts, **{f"blank{i}": "" for i in range(6)}})
    build = refused(notes, "max_reject_share:docs")
    assert notes.build(dry_run=True).exit_code == 3
    accepted(notes, build)
    assert notes.build(dry_run=True).exit_code == 0


def test_who_and_why_are_recorded_once(notes, texts):
    notes.write({**texts, **{f"blank{i}": "" for i in range(6)}})
    build = refused(notes, "max_reject_share:docs")
    answer = notes.command("accept", build, "--reason", "known", "--who", "ada", "--json")
    document = json.loads(answer.out)
    assert (document["gates"], document["who"], document["reason"]) == (
        ["max_reject_share:docs"],
        "ada",
        "known",
    )
    assert (document["build_id"], document["new"]) == (build, True)
    again = notes.command("accept", build, "--reason", "also", "--who", "bob")
    assert again.code == 0
    assert "accepted already by ada" in again.out
    [event] = read_events(notes.ref, "accept")
    assert (event["build_id"], event["who"], event["reason"]) == (build, "ada", "known")
    assert event["refused_by"] == ["max_reject_share:docs"]
    assert event["input_hash"] == read_builds(notes.ref, build)[0].manifest.input_hash


class TestNothingToAccept:
    def said(self, notes, outcome) -> str:
        before = notes.tables()
        answer = notes.command("accept", outcome.manifest.build_id, "--reason", "please")
        assert answer.code == 2
        assert notes.tables() == before
        return answer.err

    def test_published(self, notes):
        assert "was published as v0001" in self.said(notes, notes.build())

    def test_no_change(self, notes, texts):
        notes.build()
        notes.write({**texts, "blank": " "})
        assert "was not refused" in self.said(notes, notes.build())

    def test_a_hold(self, notes, texts):
        notes.build()
        set_hold(notes.ref, "wait", "ada")
        notes.write({**texts, "fresh": sentence(300)})
        assert "vecmill release-hold" in self.said(notes, notes.build())

    def test_yes(self, notes, texts):
        notes.build()
        notes.write({key: sentence(i, 200) for i, key in enumerate(texts)})
        assert "build again with --yes" in self.said(notes, notes.build())

    def test_a_source(self, notes):
        notes.build()
        (notes.folder / "notes.jsonl").unlink()
        assert "mend the source" in self.said(notes, notes.build())

    def test_vectors_that_are_not_finite(self, notes):
        outcome = notes.build(FaultyRunner(StageBars("quiet")))
        assert "finite" in outcome.manifest.refused_by
        assert "refused by finite, which cannot be accepted" in self.said(notes, outcome)

    @pytest.mark.parametrize("name", ["nosuch", ""])
    def test_an_unknown_build(self, notes, name):
        notes.build()
        set_hold(notes.ref, "wait", "ada")
        notes.write({"other": sentence(1)})
        notes.build()
        answer = notes.command("accept", name, "--reason", "please")
        assert (answer.code, "the latest are" in answer.err) == (2, True)


def test_records_that_are_kept_of_the_release_are_part_of_the_input(notes, texts):
    """What was accepted of one file is not accepted beside other rows of files that are gone."""
    notes.source(path="deltas/*.jsonl", mode="append", on_repeat="latest")
    folder = notes.folder / "deltas"
    folder.mkdir()
    (notes.folder / "notes.jsonl").rename(folder / "1.jsonl")
    notes.build()
    (folder / "1.jsonl").unlink()
    (folder / "2.jsonl").write_text("".join(f'{{"key": "b{i}", "text": ""}}\n' for i in range(9)))
    build = refused(notes, "max_reject_share:docs")
    accepted(notes, build)
    forget_records(notes.spec, Request(keys=("n3",)), yes=True, who="ann")
    accepted(notes, refused(notes, "max_reject_share:docs"))
    outcome = notes.build()
    assert outcome.exit_code == 0, outcome.message
    counts = outcome.manifest.counts
    assert (counts.rows, counts.records_rejected) == (29, 9)
