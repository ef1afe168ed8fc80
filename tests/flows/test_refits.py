"""`maintain --refit`: clusters and map anew, as a release of its own."""

from __future__ import annotations

import json

import lance
import numpy as np
import pytest

from made_words import sentence
from schemas.errors import UsageError
from tasks.table.companions import current_hold, release_hold, set_hold
from tasks.table.fits import has_fit, read_fit
from tasks.table.releases import list_releases
from tests.flows.test_fitted_builds import assert_placed_by_its_fit, content, rows

TOPICS = 4


def topic_texts(first: int, count: int, topics: int = TOPICS) -> dict[str, str]:
    """Notes `first`, … each with three words of its topic and one of its own."""
    return {
        f"n{i}": sentence(*(i % topics * 10 + word for word in range(3)), 100 + i)
        for i in range(first, first + count)
    }


@pytest.fixture
def grown(notes):
    """A fit of forty notes on four topics, and 120 rows by now: a fifth topic has come."""
    notes.changes["cluster"] = {"k": 5, "map": "pca"}
    notes.source(max_shrink=1)
    notes.write(topic_texts(0, 40))
    notes.build()
    notes.write({**topic_texts(0, 80), **topic_texts(80, 40, topics=6)})
    notes.build()
    return notes


def names(space) -> list[str]:
    return [release.name for release in list_releases(space.ref)]


def test_a_refit_is_a_release_that_moves_rows_and_nothing_else(grown):
    before, old = content(grown), rows(grown, "cluster")
    first = grown.build().manifest.fit_id
    outcome = grown.build(refit=True)
    manifest = outcome.manifest
    assert (manifest.release, manifest.published) == ("v0003", True)
    assert manifest.fit_id != first
    assert content(grown) == before
    counts = manifest.counts
    assert (counts.embedded, counts.unchanged, counts.rows) == (0, 120, 120)
    [verdict] = [audit for audit in manifest.audits if audit.name == "refit"]
    new = rows(grown, "cluster")
    assert verdict.value == pytest.approx(np.mean([old[name] == new[name] for name in old]))
    assert "of 120 rows keep the id of their cluster; " in verdict.detail
    assert_placed_by_its_fit(grown, manifest)
    # and then it stands
    assert grown.build().manifest.published is False
    texts = {**topic_texts(0, 80), **topic_texts(80, 41, topics=6)}
    grown.write(texts)
    later = grown.build().manifest
    assert (later.fit_id, later.counts.unchanged) == (manifest.fit_id, 120)
    assert {name: row for name, row in rows(grown, "cluster").items() if name in new} == new


def test_a_refit_of_what_was_fitted_changes_nothing(notes):
    notes.changes["cluster"] = {"k": 3}
    fit_id = notes.build().manifest.fit_id
    before = notes.tables()
    outcome = notes.build(refit=True)
    assert (outcome.exit_code, outcome.manifest.published) == (0, False)
    assert outcome.manifest.fit_id == fit_id
    assert notes.tables() == before


def test_rows_of_clusters_that_stay_keep_their_id(notes):
    """As many topics as there were, three times the rows: the same clusters, other centroids."""
    notes.changes["cluster"] = {"k": TOPICS, "map": "pca"}
    notes.write(topic_texts(0, 40))
    notes.build()
    notes.write(topic_texts(0, 120))
    first = notes.build().manifest.fit_id
    old = rows(notes, "cluster")
    second = notes.build(refit=True).manifest
    assert second.fit_id != first
    new = rows(notes, "cluster")
    assert np.mean([old[name] == new[name] for name in old]) >= 0.9
    [verdict] = [audit for audit in second.audits if audit.name == "refit"]
    assert verdict.passed
    assert "4 clusters stay, 0 went, 0 came" in verdict.detail


class TestWhatStands:
    def test_the_old_fit_stands_again_after_a_rollback(self, grown):
        old = rows(grown)
        first = grown.build().manifest.fit_id
        grown.build(refit=True)
        assert grown.command("rollback", "--to", "v0002").code == 0
        assert list_releases(grown.ref)[-1].manifest.fit_id == first
        assert rows(grown) == old
        release_hold(grown.ref, "seen", "ann")
        assert grown.build().manifest.published is False
        grown.write({**topic_texts(0, 80), **topic_texts(80, 41, topics=6)})
        later = grown.build().manifest
        assert (later.fit_id, later.counts.unchanged) == (first, 120)
        assert_placed_by_its_fit(grown, later)

    def test_a_hold_holds_a_refit(self, grown):
        set_hold(grown.ref, "wait", "ann")
        outcome = grown.build(refit=True)
        assert (outcome.exit_code, outcome.manifest.refused_by) == (3, ("hold",))
        assert names(grown) == ["v0001", "v0002"]
        assert not has_fit(grown.ref, outcome.manifest.fit_id)
        assert current_hold(grown.ref) is not None

    @pytest.mark.parametrize(
        ("place", "stands"),
        [("flows.compose.publish", "v0002"), ("tasks.publish.publish.finish", "v0003")],
    )
    def test_a_refit_killed_before_or_after_its_commit(self, grown, monkeypatch, place, stands):
        first = grown.build().manifest.fit_id

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(place, killed)
            with pytest.raises(KeyboardInterrupt):
                grown.build(refit=True)
        manifest = grown.build().manifest
        assert (manifest.release, manifest.published) == (stands, False)
        assert (manifest.fit_id == first) == (stands == "v0002")
        assert_placed_by_its_fit(grown, manifest)
        again = grown.build(refit=True).manifest
        assert again.release == "v0003"
        assert again.fit_id != first

    def test_another_build_in_between_makes_it_wait(self, grown, monkeypatch):
        import flows.compose

        real = flows.compose.audit_candidate

        def late(*arguments, **options):
            monkeypatch.setattr(flows.compose, "audit_candidate", real)
            grown.write({**topic_texts(0, 80), **topic_texts(80, 41, topics=6)})
            assert grown.build().manifest.release == "v0003"
            return real(*arguments, **options)

        monkeypatch.setattr(flows.compose, "audit_candidate", late)
        manifest = grown.build(refit=True).manifest
        assert (manifest.release, manifest.counts.rows) == ("v0004", 121)
        assert_placed_by_its_fit(grown, manifest)


class TestRefusals:
    def test_what_is_to_be_built_comes_first(self, grown):
        grown.write(topic_texts(0, 121))
        outcome = grown.build(refit=True)
        assert (outcome.exit_code, outcome.manifest.refused_by) == (3, ("changes",))
        assert "run `vecmill build`, then `vecmill maintain --refit` again" in outcome.message
        assert names(grown) == ["v0001", "v0002"]

    def test_another_spec_comes_first(self, grown):
        grown.changes["cluster"] = {"k": 3}
        outcome = grown.build(refit=True)
        assert outcome.manifest.refused_by == ("changes",)
        assert "(another spec)" in outcome.message

    def test_without_clusters_there_is_nothing_to_make_anew(self, notes):
        notes.build()
        with pytest.raises(UsageError, match=r"cluster and dedupe\.semantic are off"):
            notes.build(refit=True)

    def test_without_a_release(self, notes):
        notes.changes["cluster"] = {"k": 3}
        with pytest.raises(UsageError, match="has no release that could be fitted anew"):
            notes.build(refit=True)


class TestTheCommand:
    def test_refits_and_then_does_the_upkeep(self, grown):
        answer = grown.command("maintain", "--refit", "--grace", "0", "--json")
        assert answer.code == 0, answer.err
        said = json.loads(answer.out)
        assert (said["releases"], said["refit"]["release"]) == (3, "v0003")
        assert said["refit"]["published"] is True
        assert 0 <= said["refit"]["kept_share"] <= 1
        assert "keep the id of their cluster" in said["refit"]["detail"]
        assert "published v0003 of 'notes'" in answer.err
        for release in list_releases(grown.ref):
            read_fit(grown.ref, release.manifest.fit_id)  # still there

    def test_a_refusal_ends_it(self, grown):
        grown.write(topic_texts(0, 121))
        answer = grown.command("maintain", "--refit", "--keep", "1")
        assert answer.code == 3
        assert answer.out == ""
        assert "refused by changes" in answer.err
        assert names(grown) == ["v0001", "v0002"]

    def test_fits_of_retired_releases_go_with_time(self, grown, monkeypatch):
        from datetime import timedelta

        first = grown.build().manifest.fit_id
        grown.build(refit=True)
        monkeypatch.setattr("tasks.table.maintain.UNRECORDED", timedelta(0))
        answer = grown.command("maintain", "--keep", "1", "--grace", "0", "--json")
        said = json.loads(answer.out)
        assert (said["retired"], said["fits_removed"]) == (["v0001", "v0002"], 1)
        assert not has_fit(grown.ref, first)
        assert grown.build().manifest.published is False
        grown.write(topic_texts(0, 121))
        assert grown.build().exit_code == 0


def test_far_rows_advise_a_refit(notes):
    notes.changes["cluster"] = {"k": 4, "map": "pca"}
    notes.write(topic_texts(0, 40))
    notes.build()
    strange = {f"s{i}": sentence(300 + i % 50, 350 + i % 50) for i in range(80)}
    notes.write({**topic_texts(0, 40), **strange})
    manifest = notes.build().manifest
    assert manifest.published
    [verdict] = [audit for audit in manifest.audits if audit.name == "fit:text"]
    assert not verdict.passed
    assert verdict.value > 0.5
    assert "make a new one with `vecmill maintain SPEC --refit`" in verdict.detail
    manifest = notes.build(refit=True).manifest
    [verdict] = [audit for audit in manifest.audits if audit.name == "fit:text"]
    assert verdict.passed, verdict.detail


def test_duplicates_are_judged_by_the_new_fit(notes, texts):
    notes.changes["dedupe"] = {"semantic": {"threshold": 0.99}}
    notes.changes["cluster"] = {"k": 3}
    notes.write({**texts, "a1": sentence(1, 2, 3), "a2": sentence(3, 2, 1)})
    notes.build()
    notes.write({**texts, "a1": sentence(1, 2, 3), "a2": sentence(3, 2, 1), "b": sentence(9, 8)})
    notes.build()
    marks = rows(notes, "duplicate_of", "duplicate_kind", "duplicate_score")
    outcome = notes.build(refit=True)
    assert outcome.manifest.release == "v0003"
    assert rows(notes, "duplicate_of", "duplicate_kind", "duplicate_score") == marks
    assert lance.dataset(notes.ref.path, version="prod").count_rows() == 33
