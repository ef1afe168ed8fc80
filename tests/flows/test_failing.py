"""An error in the middle: nothing of the build is left but finished work, and the next one ends."""

from __future__ import annotations

import errno
from pathlib import Path

import lance
import pytest

from made_words import sentence
from schemas.errors import VecmillError
from tasks.store.workdir import TEMPORARY
from tasks.table.companions import read_builds
from tasks.table.transaction import base_tags

FULL = OSError(errno.ENOSPC, "No space left on device")

PLACES = [
    # before the table is touched
    "tasks.ingest.read_part.judge",
    "tasks.validate.rows.validate_part",
    "tasks.chunk.chunk_part.chunk_part",
    "tasks.dedupe.exact.exact_duplicates",
    # with the base tagged
    "tasks.plan.classify.MissingContents",
    "tasks.embed.embed_shard._write_vectors",
    "flows.compose.input_hash",
    # with rows staged, perhaps in part
    "tasks.publish.rows._table_batch",
    "tasks.table.transaction._transaction",
    "flows.compose.audit_candidate",
    "flows.compose.append_rejects",
    "tasks.table.transaction._committed",
]


def left_behind(notes) -> dict[str, list[str]]:
    """What only an unfinished build has."""
    table, work = Path(notes.ref.path), Path(notes.spec.workdir)
    return {
        "base tags": sorted(base_tags(notes.ref)),
        "candidates": sorted(path.name for path in table.glob("_versions/d*")),
        "rejects": rejects_without_a_build(notes),
        "plans": sorted(path.name for path in work.glob("plans/*")),
        "unfinished files": sorted(p.name for p in work.rglob(f"{TEMPORARY}*")),
    }


def table_files(notes) -> set[str]:
    table = Path(notes.ref.path)
    return {str(p.relative_to(table)) for p in table.rglob("*") if p.is_file()}


def rejects_without_a_build(notes) -> list[str]:
    table = Path(notes.ref.companion("rejects").path)
    found = lance.dataset(str(table)).to_table(columns=["build_id"]) if table.exists() else None
    builds = {build.manifest.build_id for build in read_builds(notes.ref)}
    return sorted(set(found["build_id"].to_pylist()) - builds) if found else []


NOTHING = {"base tags": [], "candidates": [], "rejects": [], "plans": [], "unfinished files": []}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.rpartition(".")[2])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), FULL], ids=["Ctrl-C", "full disk"])
def test_an_error_leaves_main_and_no_trace(notes, texts, fails_at, place, error):
    notes.build()
    tags, files = notes.tags(), table_files(notes)
    wanted = {**texts, "n3": sentence(300), "fresh": sentence(301)}
    del wanted["n5"]
    notes.write({**wanted, "blank": " "})
    fails_at(notes, place, error)
    assert left_behind(notes) == NOTHING
    assert notes.tags() == tags
    assert table_files(notes) == files
    assert notes.build().manifest.release == "v0002"
    assert notes.content() == {f"docs:{key}": text for key, text in wanted.items()}
    assert left_behind(notes) == NOTHING


def test_ctrl_c_while_lance_asks_for_the_next_batch(notes, texts, monkeypatch):
    """It comes back as an error of Arrow's, and is told as what it was."""
    notes.write({**texts, "blank": " "})

    def interrupted(*_) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tasks.table.companions.count_attempts", interrupted)
        answer = notes.command("build")
    assert (answer.code, answer.err.splitlines()[-1]) == (
        1,
        "vecmill: interrupted. Finished work is kept: run the same command again to go on",
    )
    assert left_behind(notes) == NOTHING
    assert notes.build().manifest.release == "v0001"


def test_an_error_after_the_commit_is_a_release_all_the_same(notes, texts, fails_at):
    notes.build()
    wanted = {**texts, "fresh": sentence(301)}
    notes.write(wanted)
    fails_at(notes, "tasks.table.reconcile.build_indexes", FULL)
    assert left_behind(notes) == NOTHING
    assert "docs:fresh" not in notes.content()  # not finished: prod stands where it stood
    outcome = notes.build()
    assert (outcome.manifest.release, outcome.manifest.published) == ("v0002", False)
    assert notes.content() == {f"docs:{key}": text for key, text in wanted.items()}


def test_an_error_names_its_stage(notes, monkeypatch):
    def fail(*_):
        raise VecmillError("the shard is lost; build again")

    monkeypatch.setattr("tasks.embed.embed_shard._write_vectors", fail)
    answer = notes.command("build")
    assert answer.code == 1
    assert "the shard is lost; build again\n  in stage embed" in answer.err


def test_vectors_made_before_an_error_are_kept(notes, monkeypatch, fails_at):
    from tasks.plan.shards import PER_SHARD

    monkeypatch.setitem(PER_SHARD, "text", 10)
    fails_at(notes, "tasks.publish.stage.staged_rows", FULL)
    counts = notes.build().manifest.counts
    assert (counts.embedded, counts.reused, counts.rows) == (0, 30, 30)


def test_a_deleted_workdir_costs_time_alone(notes, texts):
    import shutil

    notes.build()
    before = lance.dataset(notes.ref.path, version="prod").to_table()
    shutil.rmtree(notes.spec.workdir)
    outcome = notes.build()
    assert (outcome.manifest.published, outcome.manifest.counts.embedded) == (False, 0)
    assert lance.dataset(notes.ref.path, version="prod").to_table() == before
