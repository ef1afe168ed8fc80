"""Clusters and map over the builds of a space: fitted once, then rows are placed by that fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

import lance
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flows.compose
import made_embedder
from made_specs import PLAIN
from made_words import sentence
from schemas.errors import MissingExtraError
from tasks.audit.fit import audit_fitted
from tasks.cluster.make_fit import MAPS
from tasks.geometry.fit import AnchorMap, Fit
from tasks.geometry.place import place
from tasks.table.dataset import try_open
from tasks.table.fits import read_fit
from tasks.table.vectors import matrix

REPOSITORY = Path(__file__).parents[2]
CLUSTER = {"k": 3, "map": "pca"}
FITTED = ["cluster", "x", "y"]


@pytest.fixture
def fitted(notes):
    """The notes, with three clusters and a map."""
    notes.changes["cluster"] = CLUSTER
    return notes


def rows(space, *columns: str, tag: str = "prod") -> dict[str, tuple]:
    """id → the columns of a release, or cluster, x and y."""
    names = ["id", *(columns or FITTED)]
    table = lance.dataset(space.ref.path, version=tag).to_table(columns=names).sort_by("id")
    ids, *others = (column.to_pylist() for column in table.columns)
    return dict(zip(ids, zip(*others, strict=True), strict=True))


def content(space, tag: str = "prod") -> list[dict]:
    """Every column that is no fitted one."""
    table = lance.dataset(space.ref.path, version=tag).to_table()
    return table.drop_columns(FITTED).sort_by("id").to_pylist()


def assert_placed_by_its_fit(space, release) -> None:
    """What each row has is what the named fit gives its vector, to the last bit."""
    table = lance.dataset(space.ref.path, version=release.version).to_table()
    own = read_fit(space.ref, release.fit_id).kinds["text"]
    placed = place(own, matrix(table.column("vector")))
    for name, values in (("cluster", placed.cluster), ("x", placed.x), ("y", placed.y)):
        np.testing.assert_array_equal(table.column(name).to_numpy(), values)


def test_the_first_build_fits_and_later_ones_place(fitted, texts):
    first = fitted.build().manifest
    before = rows(fitted)
    assert {cluster for cluster, *_ in before.values()} == {0, 1, 2}
    assert all(x is not None and y is not None for _, x, y in before.values())
    assert first.timings.cluster > 0
    fitted.write({**texts, "n3": texts["n4"], "fresh": texts["n5"]})
    second = fitted.build().manifest
    assert (second.release, second.fit_id) == ("v0002", first.fit_id)
    counts = second.counts
    assert (counts.new, counts.changed, counts.rejudged, counts.unchanged) == (1, 1, 2, 27)
    copies = {"docs:n3": before["docs:n4"], "docs:fresh": before["docs:n5"]}
    assert rows(fitted) == {**before, **copies}
    assert_placed_by_its_fit(fitted, second)
    assert [(a.value, a.severity) for a in second.audits if a.name == "fit:text"] == [
        (None, "warn")
    ]


def test_no_change_writes_nothing_and_names_the_fit(fitted):
    first = fitted.build().manifest
    before = fitted.tables()
    again = fitted.build()
    assert (again.manifest.published, again.manifest.fit_id) == (False, first.fit_id)
    assert again.manifest.timings.cluster == 0
    assert fitted.tables() == before
    assert fitted.build(dry_run=True).manifest.fit_id == first.fit_id


def test_the_same_contents_make_the_same_fit(fitted, texts):
    """In whatever files and order they come, and however often a content stands."""
    first = fitted.build().manifest
    (fitted.folder / "parts").mkdir()
    other = replace(fitted, changes={"cluster": CLUSTER, "uri": "./other-db", "workdir": "./other"})
    other.source(path="parts/*.jsonl")
    words = list(texts.values())
    for name, some in (("a", words[20:]), ("b", words[:20][::-1]), ("c", [words[3]])):
        lines = [json.dumps({"key": f"{name}{i}", "text": text}) for i, text in enumerate(some)]
        (fitted.folder / "parts" / f"{name}.jsonl").write_text("\n".join(lines))
    second = other.build().manifest
    assert second.counts.rows == 31
    assert second.fit_id == first.fit_id


UNCHANGED = """
import sys
from flows.compose import build_space
from flows.progress import StageBars
from flows.runner import PlainRunner
from schemas.load import load_spec
from schemas.spec import BuildOverrides
runner = PlainRunner(StageBars("quiet"))
outcome = build_space(load_spec(sys.argv[1]), BuildOverrides(), runner)
print(outcome.message, sorted({"faiss", "numba", "sklearn", "scipy", "umap"} & set(sys.modules)))
"""


def test_no_change_loads_nothing_that_fits(fitted):
    fitted.build()
    done = subprocess.run(
        [sys.executable, "-c", UNCHANGED, str(fitted.spec_file())],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "'notes' is up to date: v0001 stands, nothing was written []"


def test_a_fit_outlives_the_workdir(fitted, texts):
    first = fitted.build().manifest
    before = rows(fitted)
    shutil.rmtree(fitted.folder / "work")
    assert fitted.build().manifest.published is False
    fitted.write({**texts, "more": sentence(1, 2)})
    second = fitted.build().manifest
    assert (second.fit_id, second.counts.embedded) == (first.fit_id, 1)
    assert {name: row for name, row in rows(fitted).items() if name in before} == before


class TestAnotherSpec:
    """Clusters that come, change or go: every row is written again, none is embedded."""

    def rewritten(self, space):
        before = content(space)
        dry = space.build(dry_run=True)
        assert "every row is rewritten" in dry.message
        manifest = space.build().manifest
        assert (manifest.published, manifest.counts.embedded) == (True, 0)
        assert (manifest.counts.unchanged, manifest.counts.reused) == (30, 30)
        assert manifest.counts.problems() == []
        assert content(space) == before
        assert space.build().manifest.published is False
        return manifest

    def test_switched_on_for_a_published_table(self, notes):
        assert notes.build().manifest.fit_id is None
        assert set(rows(notes).values()) == {(-1, None, None)}
        notes.changes["cluster"] = CLUSTER
        manifest = self.rewritten(notes)
        assert {cluster for cluster, *_ in rows(notes).values()} == {0, 1, 2}
        assert_placed_by_its_fit(notes, manifest)

    def test_switched_off_again(self, fitted):
        fitted.build()
        fitted.changes["cluster"] = None
        manifest = self.rewritten(fitted)
        assert (manifest.fit_id, set(rows(fitted).values())) == (None, {(-1, None, None)})

    def test_another_k(self, fitted):
        first = fitted.build().manifest
        fitted.changes["cluster"] = {"k": 5, "map": "pca"}
        second = self.rewritten(fitted)
        assert second.fit_id != first.fit_id
        assert len({cluster for cluster, *_ in rows(fitted).values()}) == 5
        old, new = (rows(fitted, "x", "y", tag=tag) for tag in ("v0001", "v0002"))
        assert old == new  # of the same rows

    def test_without_a_map(self, fitted):
        fitted.build()
        before = rows(fitted, "cluster")
        fitted.changes["cluster"] = {"k": 3, "map": None}
        self.rewritten(fitted)
        assert {row[1:] for row in rows(fitted).values()} == {(None, None)}
        assert rows(fitted, "cluster") == before

    def test_hdbscan(self, fitted):
        fitted.build()
        fitted.changes["cluster"] = {"method": "hdbscan", "map": "pca"}
        assert_placed_by_its_fit(fitted, self.rewritten(fitted))


def test_semantic_duplicates_extend_the_fit_and_no_row_moves(fitted, texts):
    first = fitted.build().manifest
    before = rows(fitted)
    fitted.changes["dedupe"] = {"semantic": {"threshold": 0.99}}
    assert fitted.build().manifest.published is False  # there are none
    fitted.write({**texts, "more": sentence(1, 2)})
    second = fitted.build().manifest
    assert second.fit_id != first.fit_id
    assert second.counts.unchanged == 30
    assert {name: row for name, row in rows(fitted).items() if name in before} == before
    old, new = (read_fit(fitted.ref, each.fit_id).kinds["text"] for each in (first, second))
    np.testing.assert_array_equal(old.centroids, new.centroids)
    assert (len(old.cells), len(new.cells) > 0) == (0, True)


def test_published_semantic_marks_are_no_change(notes, texts):
    """The order of words means nothing to this model: `w1 w2` is `w2 w1`, and no exact copy."""
    twins = {"a1": sentence(1, 2, 3), "a2": sentence(3, 2, 1), "a3": sentence(3, 2, 1)}
    notes.changes["dedupe"] = {"semantic": {"threshold": 0.99}}
    notes.write({**texts, **twins})
    first = notes.build().manifest
    marks = rows(notes, "duplicate_of", "duplicate_kind")
    assert {k: v for k, v in marks.items() if v[0]} == {
        "docs:a2": ("docs:a1", "semantic"),
        "docs:a3": ("docs:a1", "semantic"),
    }
    assert first.counts.duplicates.semantic == 2
    before = notes.tables()
    for overrides in ({}, {"dry_run": True}):
        again = notes.build(**overrides).manifest
        assert (again.published, again.counts.rejudged) == (False, 0)
        assert again.counts.duplicates == first.counts.duplicates
    assert notes.tables() == before
    notes.write({**texts, "a2": twins["a2"], "a3": twins["a3"]})  # what they pointed to has gone
    said = notes.build(dry_run=True).message
    assert "1 removed; 0 contents to embed; semantic duplicates are judged when" in said
    second = notes.build().manifest
    assert (second.counts.removed, second.counts.rejudged) == (1, 2)
    assert rows(notes, "duplicate_of", "duplicate_kind")["docs:a3"] == ("docs:a2", "exact")
    notes.changes["dedupe"] = PLAIN["dedupe"]
    notes.write({**texts, **twins})
    notes.build()
    assert notes.build().manifest.counts.duplicates.semantic == 0


def test_the_order_of_what_is_kept_may_change_by_itself(notes, texts):
    """Times are in no hash: another time makes another row the first, and no other difference."""
    notes.source(time="at")
    notes.changes["dedupe"] = {"semantic": {"threshold": 0.99}}
    twins = {"a1": sentence(1, 2, 3), "a2": sentence(3, 2, 1)}
    kept = []
    for first, second in (("2020-01-01", "2021-01-01"), ("2022-01-01", "2021-01-01")):
        at = dict.fromkeys(texts, "2019-01-01") | {"a1": first, "a2": second}
        notes.write({**texts, **twins}, at=at)
        assert notes.build().exit_code == 0
        marks = rows(notes, "duplicate_of")
        kept.append([name for name in ("docs:a1", "docs:a2") if marks[name] == (None,)])
    assert kept == [["docs:a1"], ["docs:a2"]]


class TestTwoBuilders:
    """Whoever is first makes the fit; the other one places by it."""

    @pytest.fixture
    def meanwhile(self, monkeypatch):
        def plant(step: str, happens) -> None:
            real = getattr(flows.compose, step)

            def late(*arguments, **options):
                monkeypatch.setattr(flows.compose, step, real)
                happens()
                return real(*arguments, **options)

            monkeypatch.setattr(flows.compose, step, late)

        return plant

    @pytest.mark.parametrize("step", ["judge_rows", "audit_candidate"])
    def test_the_first_fit_stands(self, fitted, texts, meanwhile, step):
        others = []

        def other() -> None:
            fitted.write({key: texts[key] for key in list(texts)[:20]})
            others.append(fitted.build().manifest)
            fitted.write(texts)

        fitted.source(max_shrink=1)
        meanwhile(step, other)
        manifest = fitted.build().manifest
        assert (others[0].release, manifest.release) == ("v0001", "v0002")
        assert manifest.fit_id == others[0].fit_id
        assert_placed_by_its_fit(fitted, manifest)


def test_a_refused_build_leaves_no_fit(fitted, spoiled):
    spoiled(lambda vectors: vectors * 3)
    refused = fitted.build()
    assert refused.exit_code == 3
    assert try_open(fitted.ref.companion("fits")) is None


@pytest.mark.parametrize("place", ["flows.compose.append_rejects", "flows.compose.publish"])
def test_a_build_killed_before_its_commit_is_done_again_with_the_same_fit(fitted, fails_at, place):
    fails_at(fitted, place)
    assert try_open(fitted.ref.companion("fits")).count_rows("role = 'fit'") == 1
    manifest = fitted.build().manifest
    assert (manifest.release, manifest.published) == ("v0001", True)
    assert try_open(fitted.ref.companion("fits")).count_rows("role = 'fit'") == 1
    assert_placed_by_its_fit(fitted, manifest)


def test_a_fit_that_was_lost_is_named_with_the_way_on(fitted, texts):
    fit_id = fitted.build().manifest.fit_id
    shutil.rmtree(fitted.ref.companion("fits").path)
    fitted.write({**texts, "more": sentence(1, 2)})
    answer = fitted.command("build", "--quiet")
    assert answer.code == 1
    assert f"does not hold '{fit_id}'" in answer.err
    assert "maintain SPEC --refit" in answer.err


def test_a_map_without_its_package_is_refused_before_anything_is_read(fitted, monkeypatch):
    fitted.changes["cluster"] = {"map": "umap"}
    monkeypatch.setattr("tasks.cluster.fit_rows.find_spec", lambda name: None)
    monkeypatch.setattr("flows.compose.gather", None)
    with pytest.raises(
        MissingExtraError, match=r"pip install 'vecmill\[umap\]', or write map: pca"
    ):
        fitted.build()


number = count()
KEYS = [f"k{i}" for i in range(12)]
CHANGE = st.dictionaries(
    st.sampled_from(KEYS), st.none() | st.sampled_from(range(6)), min_size=1, max_size=6
)
"""Key → the first word of its text, or None: it goes."""


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.lists(CHANGE, min_size=1, max_size=4))
def test_any_history_ends_in_the_same_content_and_each_row_is_placed_by_its_fit(
    fitted, monkeypatch, changes
):
    monkeypatch.setattr("tasks.embed.embed_shard.load", made_embedder.WordEmbedder)
    fitted.source(max_shrink=1)
    grown, fresh = (
        type(fitted)(
            fitted.folder, fitted.model, {**fitted.changes, "uri": f"./d{n}", "workdir": f"./w{n}"}
        )
        for n in (next(number), next(number))
    )
    records = {f"s{i}": sentence(i, i + 50) for i in range(8)}
    for change in changes:
        records |= {key: sentence(n, n + 20) for key, n in change.items() if n is not None}
        records = {key: text for key, text in records.items() if change.get(key, 1) is not None}
        grown.write(records)
        outcome = grown.build(yes=True)
        assert outcome.exit_code == 0, outcome.message
        assert outcome.manifest.counts.problems() == []
        assert_placed_by_its_fit(grown, outcome.manifest)
    fresh.build()
    assert content(grown) == content(fresh)
    assert grown.build().manifest.published is False


def test_forgotten_anchors_leave_the_fit(fitted, texts, monkeypatch):
    def anchors(unit, contents, before):
        return AnchorMap(unit, np.ascontiguousarray(unit[:, :2]), contents)

    monkeypatch.setitem(MAPS, "umap", anchors)
    fitted.changes["cluster"] = {"k": 3, "map": "umap"}
    fitted.write({**texts, "patient-0815": "w7 w8 w9 w10 w11", "copy": texts["n4"]})
    fit_id = fitted.build().manifest.fit_id
    assert len(read_fit(fitted.ref, fit_id).kinds["text"].map.contents) == 31
    hashes = rows(fitted, "content_hash")
    answer = fitted.command("forget", "--key", "patient-0815", "--key", "copy", "--yes", "--json")
    assert answer.code == 0, answer.err
    assert '"anchors_removed": 1' in answer.out
    left = {bytes(each) for each in read_fit(fitted.ref, fit_id).kinds["text"].map.contents}
    assert hashes["docs:patient-0815"][0] not in left
    assert hashes["docs:n4"][0] in left  # another row says the same
    fitted.write({**texts, "more": sentence(1, 2)})
    again = fitted.build().manifest
    assert (again.release, again.fit_id) == ("v0003", fit_id)


def test_an_audit_tells_rows_that_are_not_where_their_fit_puts_them(fitted, texts):
    manifest = fitted.build().manifest

    def verdicts() -> dict[str, dict]:
        said = json.loads(fitted.command("audit", "--json").out)
        return {audit["name"]: audit for audit in said["audits"]}

    assert verdicts()["fitted"]["passed"]
    assert "fit:text" in verdicts()
    fit = read_fit(fitted.ref, manifest.fit_id)
    own = fit.kinds["text"]
    turned = replace(own, ids=own.ids[[1, 0, 2]])
    two = [n for n, (cluster, *_) in rows(fitted).items() if cluster < 2]
    version = lance.dataset(fitted.ref.path, version="prod").version
    found = audit_fitted(fitted.ref, version, Fit("fit-other", {"text": turned}))
    assert (found.value, found.passed) == (len(two), False)
    assert f"{len(two)} of 30 rows are not where fit-other puts their vector; for" in found.detail
