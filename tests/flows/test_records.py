"""What a build leaves on record: the manifest in its version, and companions that agree with it."""

from __future__ import annotations

import json
import time

import lance
import polars as pl
import pytest

from made_words import sentence
from schemas.manifest import Manifest
from tasks.table.companions import BUILDS, count_rejects, read_builds
from tasks.table.releases import list_releases, tagged_release


@pytest.fixture
def history(notes, texts):
    """Two releases: the second with an edit, a copy and a reject."""
    first = notes.build()
    notes.write({**texts, "n3": sentence(300), "copy": texts["n1"], "blank": " "})
    return first.manifest, notes.build().manifest


def properties(notes, version: int) -> dict[str, str]:
    dataset = lance.dataset(notes.ref.path)
    return dict(dataset.read_transaction(version).transaction_properties)


def test_the_manifest_is_in_the_versions_own_transaction_properties(notes, history):
    for manifest in history:
        release = tagged_release(notes.ref, manifest.release)
        own = properties(notes, release.data_version)
        carried = Manifest.from_json(own["vecmill.manifest"])
        assert own["vecmill.build_id"] == carried.build_id == manifest.build_id
        assert carried.counts == manifest.counts
        assert carried.audits == manifest.audits
        assert carried.embedder.fingerprint == manifest.embedder.fingerprint
        assert carried.input_hash == manifest.input_hash
        # release, version and tag are derived on reading
        assert (carried.release, carried.version, carried.published) == (None, None, False)
        assert (release.manifest.release, release.manifest.version) == (
            manifest.release,
            notes.tags()[manifest.release],
        )


def test_the_companions_agree_with_the_manifest(notes, history):
    builds = read_builds(notes.ref)
    assert [build.manifest for build in builds] == list(history)
    table = pl.DataFrame(lance.dataset(f"{notes.spec.uri}/notes__builds.lance").to_table())
    assert table.columns == BUILDS.names
    for row, manifest in zip(table.iter_rows(named=True), history, strict=True):
        assert row["build_id"] == manifest.build_id
        assert (row["release"], row["version"]) == (manifest.release, manifest.version)
        assert row["input_hash"] == manifest.input_hash
        counts, stored = manifest.counts, count_rejects(notes.ref, manifest.build_id)
        assert stored["count"].sum() == counts.records_rejected + counts.items_rejected


def test_what_json_prints_is_what_is_recorded(notes):
    printed = json.loads(notes.command("build", "--json").out)
    [build] = read_builds(notes.ref)
    assert printed == build.manifest.model_dump(mode="json", by_alias=True)


def test_releases_are_numbered_and_name_their_base(notes, texts, history, spoiled, monkeypatch):
    with monkeypatch.context():
        spoiled(lambda vectors: vectors * 3)
        notes.write({**texts, "bad": sentence(301)})
        refused = notes.build().manifest
        assert (refused.base_release, refused.release) == ("v0002", None)
    monkeypatch.undo()
    (notes.folder / "work").rename(notes.folder / "elsewhere")  # with the bad vectors
    third = notes.build().manifest
    # a refused build takes no number
    assert [m.base_release for m in (*history, third)] == [None, "v0001", "v0002"]
    assert [r.name for r in list_releases(notes.ref)] == ["v0001", "v0002", "v0003"]
    standing = notes.build().manifest
    assert (standing.base_release, standing.release) == ("v0003", "v0003")


def test_the_input_hash_names_the_input(notes, texts):
    first = notes.build().manifest.input_hash
    assert len(first) == 32
    assert notes.build().manifest.input_hash == first
    notes.write(dict(reversed(texts.items())))  # the order of lines is no other input
    assert notes.build().manifest.input_hash == first
    (notes.folder / "work").rename(notes.folder / "old")  # nor is a lost workdir
    assert notes.build().manifest.input_hash == first
    hashes = {first}
    for change in ({"n1": sentence(300)}, {"extra": "w1"}, {"blank": " "}):
        notes.write({**texts, **change})
        hashes.add(notes.build().manifest.input_hash)
    notes.changes["audit"] = {"quality": "warn"}
    hashes.add(notes.build().manifest.input_hash)
    assert len(hashes) == 5


def test_every_way_to_refuse_has_an_input_hash_that_stays(notes, texts):
    notes.build()
    blanks = {f"blank{i}": "" for i in range(6)}
    again = {key: sentence(i, 300) for i, key in enumerate(texts)}
    for content in ({**texts, **blanks}, {"n1": texts["n1"]}, again):
        notes.write(content)
        one, two = notes.build(), notes.build()
        assert one.exit_code == two.exit_code == 3
        assert len(one.manifest.input_hash) == 32
        assert one.manifest.input_hash == two.manifest.input_hash
        assert one.manifest.build_id != two.manifest.build_id


def test_timings_cover_the_build(notes):
    start = time.perf_counter()
    timings = notes.build().manifest.timings
    wall = time.perf_counter() - start
    spent = timings.model_dump(by_alias=True)
    total = spent.pop("total")
    assert list(spent) == [
        *("start_up", "ingest", "validate", "dedupe", "chunk", "plan", "embed"),
        *("cluster", "stage", "audit", "publish"),
    ]
    assert {name for name, seconds in spent.items() if not seconds} == {"cluster"}
    assert 0.6 * total < sum(spent.values()) <= total <= wall


def test_imports_count_as_start_up(notes):
    """`begun` is when the command began."""
    from flows.compose import build_space
    from flows.progress import StageBars
    from flows.runner import PlainRunner

    runner = PlainRunner(StageBars("quiet"))
    begun = time.perf_counter() - 100
    manifest = build_space(notes.spec, runner=runner, begun=begun).manifest
    assert 100 < manifest.timings.start_up < 110
    assert manifest.timings.total > manifest.timings.start_up
    assert (manifest.finished_at - manifest.started_at).total_seconds() > 100


def test_a_build_killed_before_its_record_is_recorded_by_the_next(notes, texts, fails_at):
    notes.write({**texts, "blank": " "})
    fails_at(notes, "tasks.publish.publish.finish")
    assert read_builds(notes.ref) == []
    assert notes.build().message == "'notes' is up to date: v0001 stands, nothing was written"
    [build] = read_builds(notes.ref)
    release = tagged_release(notes.ref, "prod")
    assert build.manifest == release.manifest
    assert build.manifest.published
    # and its rejects were there before the commit
    assert count_rejects(notes.ref, build.manifest.build_id)["count"].to_list() == [1]
