"""DESIGN's outcomes, by function and by command: exit codes, `refused_by`, what is written."""

from __future__ import annotations

import json

import lance
import numpy as np
import pytest

from made_words import sentence
from schemas.manifest import Manifest
from tasks.table.companions import read_builds, release_hold, set_hold


class TestExitCodes:
    """0 published or nothing to do · 3 refused or held · 2 wrong spec or command · 1 the rest."""

    def test_0_published_and_then_nothing_to_do(self, notes):
        published = notes.command("build", "--json")
        assert (published.code, json.loads(published.out)["release"]) == (0, "v0001")
        assert "published v0001" in published.err
        before = notes.files()
        again = notes.command("build", "--json")
        manifest = Manifest.from_json(again.out)
        assert (again.code, manifest.release, manifest.published) == (0, "v0001", False)
        assert "v0001 stands, nothing was written" in again.err
        assert notes.files() == before

    def test_3_refused_by_a_gate(self, notes, texts):
        notes.write({**texts, **{f"blank{i}": "" for i in range(6)}})
        answer = notes.command("build", "--json")
        assert (answer.code, json.loads(answer.out)["refused_by"]) == (3, ["max_reject_share:docs"])
        assert "refused by max_reject_share:docs" in answer.err
        assert "there is no release yet" in answer.err

    def test_3_held_0_when_there_is_nothing_to_publish(self, notes, texts):
        notes.build()
        set_hold(notes.ref, "counting again", "ada")
        assert notes.command("build").code == 0
        notes.write({**texts, "fresh": sentence(390)})
        answer = notes.command("build")
        assert answer.code == 3
        assert answer.out == ""
        assert "counting again (ada" in answer.err
        assert "v0001 stands" in answer.err

    def test_2_held_before_the_first_release(self, notes):
        set_hold(notes.ref, "not yet", "ada")
        answer = notes.command("build", "--json")
        assert (answer.code, json.loads(answer.out)["refused_by"]) == (2, ["hold"])
        release_hold(notes.ref, "now", "ada")
        assert notes.command("build").code == 0

    def test_3_without_yes_and_0_with_it(self, notes, texts):
        notes.build()
        notes.write({key: sentence(i, 200) for i, key in enumerate(texts)})
        answer = notes.command("build")
        assert (answer.code, "--yes" in answer.err) == (3, True)
        assert notes.command("build", "--yes").code == 0

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            pytest.param(lambda path: path.unlink(), "notes.jsonl", id="gone"),
            pytest.param(lambda path: path.write_text(""), "hold no record", id="empty"),
        ],
    )
    def test_a_source_that_fails_or_is_empty_2_without_a_release_3_with_one(
        self, notes, texts, spoil, said
    ):
        path = notes.folder / "notes.jsonl"
        notes.source(max_shrink=1)
        spoil(path)
        answer = notes.command("build")
        assert (answer.code, said in answer.err) == (2, True)
        notes.write(texts)
        assert notes.command("build").code == 0
        spoil(path)
        answer = notes.command("build", "--json")
        assert (answer.code, json.loads(answer.out)["refused_by"]) == (3, ["source:docs"])
        assert said in answer.err
        assert len(notes.content()) == 30

    def test_2_another_embedder(self, notes):
        notes.build()
        model = {"kind": "sentence-transformers", "model": str(notes.model), "prompt": "w1 "}
        notes.changes["embedder"] = model
        answer = notes.command("build")
        assert (answer.code, answer.out) == (2, "")
        assert "another fingerprint is another embedding space" in answer.err

    def test_1_with_the_stage_and_the_next_step(self, notes, spoiled):
        def fail(vectors):
            raise MemoryError("no 3 GB for the attention")

        spoiled(fail)
        answer = notes.command("build")
        assert (answer.code, answer.out) == (1, "")
        for part in ("MemoryError: no 3 GB", "in stage embed", "--max-workers 1"):
            assert part in answer.err

    def test_1_when_a_stranger_wrote_to_the_table(self, notes, texts):
        notes.build()
        table = lance.dataset(notes.ref.path)
        lance.write_dataset(table.to_table(limit=1), notes.ref.path, mode="append")
        notes.write({**texts, "fresh": sentence(390)})
        answer = notes.command("build")
        assert answer.code == 1
        assert f"version {table.version + 1} was written by something other than" in answer.err
        assert ".restore()" in answer.err
        assert "in stage publish" in answer.err
        assert len(notes.content()) == 30

    def test_1_on_a_full_disk(self, notes, monkeypatch):
        def full(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("tasks.embed.embed_shard._write_vectors", full)
        answer = notes.command("build")
        assert answer.code == 1
        for part in ("No space left on device", "in stage embed", "make room on the disk"):
            assert part in answer.err


def test_refused_by_names_every_gate(notes, spoiled):
    """Too long and all the same: two gates refuse, both are named, in the record too."""
    spoiled(lambda vectors: np.tile(vectors[:1] * 3, (len(vectors), 1)))
    outcome = notes.build()
    assert outcome.manifest.refused_by == ("norm", "collapse:text")
    assert outcome.message.startswith("refused by norm, collapse:text: norm: 30 of 30 written")
    assert read_builds(notes.ref)[-1].manifest == outcome.manifest


def test_gates_before_embedding_are_a_list_too(notes, texts):
    notes.changes["expectations"] = {"min_rows": 100}
    notes.write({**texts, **{f"blank{i}": "" for i in range(6)}})
    names = notes.build().manifest.refused_by
    assert len(names) == 2
    assert "max_reject_share:docs" in names


def test_a_refused_first_build_leaves_no_row_and_no_release(notes, spoiled, monkeypatch):
    with monkeypatch.context():
        spoiled(lambda vectors: vectors * 3)
        assert notes.build().exit_code == 3
    assert notes.tags() == {"": 1}
    assert notes.command("versions").out == ""


def test_a_refusal_leaves_main_and_every_tag(notes, texts, spoiled):
    notes.build()
    before, files = notes.tags(), {n for n in notes.tables() if n.startswith("db/notes.lance")}
    notes.write({**texts, **{f"m{i}": sentence(i, i + 1) for i in range(40)}})
    spoiled(lambda vectors: vectors * 3)
    assert notes.build().exit_code == 3
    assert notes.tags() == before
    assert {n for n in notes.tables() if n.startswith("db/notes.lance")} == files


def test_a_build_that_was_refused_publishes_when_it_is_mended(notes, texts):
    notes.build()
    notes.write({**texts, **{f"blank{i}": "" for i in range(6)}})
    assert notes.build().exit_code == 3
    notes.write(texts)
    before = notes.tables()
    again = notes.build()
    assert (again.exit_code, again.manifest.published) == (0, False)
    assert notes.tables() == before  # the input is the release's: nothing to record


def test_a_commit_that_a_hold_overtook_is_no_release_yet(notes, texts, fails_at):
    """Killed after its commit, then held: main is ahead of prod, and no build calls that done."""
    notes.build()
    notes.write({**texts, "late": sentence(390)})
    fails_at(notes, "tasks.publish.publish.finish")
    set_hold(notes.ref, "looks odd", "ada")
    outcome = notes.build()
    assert (outcome.exit_code, outcome.manifest.refused_by) == (3, ("hold",))
    assert "docs:late" not in notes.content()
    release_hold(notes.ref, "it was fine", "ada")
    outcome = notes.build()
    assert (outcome.exit_code, outcome.manifest.release) == (0, "v0002")
    assert "docs:late" in notes.content()


class TestDryRuns:
    def test_nothing_at_all_is_written_where_nothing_was_built(self, notes):
        spec = notes.spec_file()
        answer = notes.command("build", "--dry-run")
        assert answer.code == 0
        assert "30 new" in answer.out
        assert sorted(notes.files()) == ["notes.jsonl", spec.name]
        assert sorted(path.name for path in notes.folder.iterdir()) == ["notes.jsonl", spec.name]

    def test_the_manifest_is_a_plan(self, notes):
        manifest = Manifest.from_json(notes.command("build", "--dry-run", "--json").out)
        assert (manifest.published, manifest.release, manifest.counts.new) == (False, None, 30)

    @pytest.mark.parametrize("released", [False, True], ids=["first", "later"])
    def test_it_says_that_a_build_would_be_refused(self, notes, texts, released):
        if released:
            notes.build()
        notes.write({**texts, **{f"blank{i}": "" for i in range(6)}})
        before = notes.files()
        outcome = notes.build(dry_run=True)
        assert (outcome.exit_code, outcome.manifest.refused_by) == (3, ("max_reject_share:docs",))
        assert "A build would be refused by max_reject_share:docs" in outcome.message
        assert "Nothing was written" in outcome.message
        assert notes.files() == before

    def test_it_says_so_of_a_hold_a_missing_yes_and_a_source(self, notes, texts):
        notes.build()
        notes.write({key: sentence(i, 200) for i, key in enumerate(texts)})
        outcome = notes.build(dry_run=True)
        assert (outcome.exit_code, outcome.manifest.refused_by) == (3, ("yes",))
        assert "30 changed" in outcome.message
        assert notes.build(dry_run=True, yes=True).exit_code == 0
        set_hold(notes.ref, "counting again", "ada")
        outcome = notes.build(dry_run=True, yes=True)
        assert (outcome.exit_code, outcome.manifest.refused_by) == (3, ("hold",))
        (notes.folder / "notes.jsonl").unlink()
        assert notes.build(dry_run=True).manifest.refused_by == ("source:docs",)
        assert len(read_builds(notes.ref)) == 1

    def test_it_does_not_finish_what_another_build_left(self, notes, texts, fails_at):
        notes.build()
        notes.write({**texts, "late": sentence(390)})
        fails_at(notes, "tasks.publish.publish.finish")
        before = notes.files()
        assert notes.build(dry_run=True).exit_code == 0
        assert notes.files() == before
