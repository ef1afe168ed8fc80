"""`rollback`, `hold` and `release-hold` through whole builds, killed and raced as well."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import flows.compose
from flows.job import open_job
from flows.progress import StageBars
from flows.recording import embedding_rate
from flows.runner import PlainRunner
from made_words import sentence
from schemas.spec import BuildOverrides
from tasks.table.companions import append_build, current_hold, read_builds
from tasks.table.releases import list_releases


@pytest.fixture
def two(notes, texts):
    """Two releases: the second has one note less, one changed and one more."""
    notes.build()
    later = {**texts, "n3": sentence(300), "fresh": sentence(301)}
    del later["n7"]
    notes.write(later)
    notes.build()
    return notes


def ids_to_texts(texts: dict[str, str]) -> dict[str, str]:
    return {f"docs:{key}": text for key, text in texts.items()}


def test_the_old_content_is_a_new_release(two, texts):
    answer = two.command("rollback", "--reason", "a note is gone", "--who", "ada", "--json")
    assert answer.code == 0, answer.err
    assert two.content() == ids_to_texts(texts)
    manifest = json.loads(answer.out)
    assert (manifest["release"], manifest["published"]) == ("v0003", True)
    assert (manifest["base_release"], manifest["tag"]) == ("v0002", "prod")
    first, _, third = list_releases(two.ref)
    assert third.rollback_to == "v0001"
    assert third.manifest.input_hash == first.manifest.input_hash
    counts = third.manifest.counts
    assert counts.problems() == []
    assert (counts.rows, counts.new, counts.changed, counts.removed) == (30, 1, 1, 1)
    assert (counts.unchanged, counts.embedded, counts.reused) == (28, 0, 0)
    assert two.tags()["prod"] == two.tags()["v0003"] == third.version
    assert two.content("v0002") != two.content()
    hold = current_hold(two.ref)
    assert (hold.who, hold.reason) == (
        "ada",
        "rolled back from v0002 to v0001: a note is gone",
    )
    assert [b.manifest.release for b in read_builds(two.ref)] == ["v0001", "v0002", "v0003"]


def test_a_build_after_it_is_held_and_names_the_way_on(two):
    two.command("rollback")
    answer = two.command("build")
    assert answer.code == 3
    assert "refused by hold" in answer.err
    assert "rolled back from v0002 to v0001" in answer.err
    assert "vecmill release-hold" in answer.err
    assert len(two.content()) == 30
    assert two.command("release-hold").code == 0
    outcome = two.build()
    assert (outcome.manifest.release, outcome.manifest.counts.embedded) == ("v0004", 0)
    assert "docs:fresh" in two.content()
    assert two.content() == two.content("v0002")


def test_a_build_whose_sources_went_back_too_has_nothing_to_do(two, texts):
    two.command("rollback")
    two.write(texts)
    before = two.tables()
    outcome = two.build()
    assert (outcome.exit_code, outcome.manifest.release) == (0, "v0003")
    assert two.tables() == before


def test_going_back_to_what_stands_writes_nothing(two):
    before = two.tables()
    answer = two.command("rollback", "--to", "v0002")
    assert (answer.code, "nothing was written" in answer.out) == (0, True)
    assert two.command("rollback", "--to", "prod").code == 0
    assert two.tables() == before
    two.command("rollback", "--to", "v0001")
    before = two.tables()
    answer = two.command("rollback", "--to", "v0001")
    assert "v0003 of 'notes' stands, with the content of v0001 already" in answer.out
    assert two.tables() == before


def test_going_back_twice_leads_further_back(two, texts):
    two.write({**texts, "third": sentence(302)})
    two.build()
    assert two.command("rollback").code == 0
    assert two.content() == two.content("v0002")
    assert two.command("rollback").code == 0
    assert two.content() == two.content("v0001")
    answer = two.command("rollback")
    assert answer.code == 2
    assert "no release before v0001, whose content stands as v0005" in answer.err
    assert [r.rollback_to for r in list_releases(two.ref)] == [None] * 3 + ["v0002", "v0001"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("v0009", "no release or tag 'v0009'; it has v0001, v0002"), ("base", "no release or tag")],
)
def test_an_unknown_release_is_a_usage_error(two, name, said):
    before = two.tables()
    answer = two.command("rollback", "--to", name)
    assert (answer.code, said in answer.err) == (2, True)
    assert two.tables() == before


def test_nothing_to_go_back_to(notes):
    answer = notes.command("rollback")
    assert (answer.code, "has no release to go back to" in answer.err) == (2, True)
    notes.build()
    answer = notes.command("rollback")
    assert (answer.code, "no release before v0001" in answer.err) == (2, True)
    assert current_hold(notes.ref) is None


POINTS = {
    "after the hold": "tasks.table.rollback.append_event",
    "after the intent": "flows.rollback.finish_rollback",
    "before the restore": "tasks.table.rollback._restore",
    "after the restore": "tasks.table.reconcile._create_tag",
    "after the data tag": "tasks.table.reconcile.last_with_same_rows",
    "after the release tag": "tasks.table.reconcile._finished",
    "before the record": "flows.recording.copy_rejects",
}


@pytest.fixture
def killed_at(monkeypatch):
    """Roll back until the function named `place` is called."""

    def roll(notes, place: str, *words: str) -> None:
        def fail(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(place, fail)
            assert notes.command("rollback", *words).code == 1

    return roll


def finished(notes, texts) -> bool:
    """Whether the rollback is whole: content, tags, record."""
    newest = list_releases(notes.ref)[-1]
    recorded = [b.manifest.build_id for b in read_builds(notes.ref)]
    return (
        notes.content() == ids_to_texts(texts)
        and newest.rollback_to == "v0001"
        and notes.tags()["prod"] == newest.version
        and recorded.count(newest.manifest.build_id) == 1
        and len(recorded) == len(set(recorded))
    )


@pytest.mark.parametrize(
    ("next_one", "point"),
    [
        *(("build", point) for point in list(POINTS)[1:]),
        *((other, "after the intent") for other in ("rollback", "release-hold")),
        *((other, "after the restore") for other in ("rollback", "release-hold")),
    ],
)
def test_whoever_comes_next_finishes_it(two, texts, killed_at, next_one, point):
    killed_at(two, POINTS[point], "--to", "v0001")
    assert current_hold(two.ref) is not None
    answer = two.command(next_one, *(["--to", "v0001"] if next_one == "rollback" else []))
    assert answer.code == {"build": 3, "rollback": 0, "release-hold": 0}[next_one], answer.err
    assert finished(two, texts)
    names = [release.name for release in list_releases(two.ref)]
    assert names == ["v0001", "v0002", "v0003"]
    assert (current_hold(two.ref) is None) == (next_one == "release-hold")


def test_killed_after_the_hold_it_is_a_hold(two, texts, killed_at):
    killed_at(two, POINTS["after the hold"], "--to", "v0001")
    assert two.command("build").code == 0  # nothing changed
    assert [r.name for r in list_releases(two.ref)] == ["v0001", "v0002"]
    assert "rolled back from v0002 to v0001" in current_hold(two.ref).reason
    assert two.command("rollback").code == 0
    assert finished(two, texts)


def test_a_build_that_was_under_way_is_held(two, monkeypatch):
    """Its commit fails on the restore; planned again, it finds the hold."""
    content = two.content("v0001")
    texts = {key.removeprefix("docs:"): text for key, text in two.content().items()}
    two.write({**texts, "mine": sentence(310)})
    real = flows.compose.append_rejects  # after it has looked for a hold, before it commits

    def late(*arguments, **options):
        monkeypatch.setattr(flows.compose, "append_rejects", real)
        assert two.command("rollback").code == 0
        return real(*arguments, **options)

    monkeypatch.setattr(flows.compose, "append_rejects", late)
    outcome = two.build()
    assert (outcome.exit_code, outcome.manifest.refused_by) == (3, ("hold",))
    assert outcome.manifest.base_release == "v0003"
    assert two.content() == content
    assert list(Path(two.ref.path).glob("_versions/d*")) == []
    two.command("release-hold")
    outcome = two.build()
    assert (outcome.manifest.release, outcome.manifest.counts.embedded) == ("v0004", 0)
    assert two.content()["docs:mine"] == sentence(310)


def test_its_rejects_are_those_of_the_state_it_brought_back(notes, texts):
    notes.write({**texts, "blank": " "})
    notes.build()
    notes.write(texts)
    notes.source(columns=[])
    notes.write({**texts, "fresh": sentence(301)})
    notes.build()
    notes.command("rollback")
    document = json.loads(notes.command("rejects", "--release", "prod", "--json").out)
    assert (document["release"], document["records_rejected"]) == ("v0003", 1)
    assert [reason["count"] for reason in document["reasons"]] == [1]


def test_the_plan_is_said_before_embedding(notes, texts):
    answer = notes.command("build")
    assert "plan for 'notes': 30 new" in answer.err
    assert "30 contents to embed" in answer.err
    assert "last builds' rate" not in answer.err  # nothing was embedded before
    notes.write({**texts, "fresh": sentence(301)})
    answer = notes.command("build", "--json")
    assert "1 contents to embed, about 0.0 s at the last builds' rate" in answer.err
    assert json.loads(answer.out)["release"] == "v0002"
    notes.write({**texts, "fresh": sentence(302)})
    assert "plan for" not in notes.command("build", "--quiet").err


def test_the_rate_is_the_median_of_the_last_builds(notes):
    first = notes.build().manifest
    for n, seconds in enumerate([1.0, 10.0, 2.0, 4.0, 100.0, 5.0, 0.0]):
        counts = first.counts.model_copy(update={"embedded": 100})
        timings = first.timings.model_copy(update={"embed": seconds})
        changes = {"build_id": f"b{n}", "counts": counts, "timings": timings}
        append_build(notes.ref, first.model_copy(update=changes))
    with open_job(notes.spec, BuildOverrides(), PlainRunner(StageBars("quiet"))) as job:
        assert embedding_rate(job) == 100 / 5.0  # of 5, 100, 4, 2 and 10 seconds
