"""`<space>__clusters`: written, read, copied, trimmed, blanked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import lance
import numpy as np
import pytest

from tasks.table.clusters import (
    CLUSTERS,
    ClusterRecord,
    append_clusters,
    blank_clusters,
    clusters_for,
    copy_clusters,
    drop_clusters,
    read_clusters,
    trim_clusters,
)
from tasks.table.dataset import TableRef


def record(cluster: int = 0, **changes) -> ClusterRecord:
    known = {
        "fit_id": "fit-a",
        "kind": "text",
        "cluster": cluster,
        "terms": ("sea", "ship", "harbour", "wave"),
        "size": 7,
        "centroid": np.array([0.6, 0.8], np.float32),
        "representatives": ("docs:a", "docs:b"),
    }
    return ClusterRecord(**{**known, **changes})


def said(records) -> list[tuple]:
    return [(r.kind, r.cluster, r.terms, r.size, r.representatives) for r in records]


@pytest.fixture
def ref(tmp_path) -> TableRef:
    return TableRef(str(tmp_path / "db"), "notes", ())


def test_what_was_written_is_read(ref):
    assert read_clusters(ref, "b1") == []
    records = [record(1), record(0, terms=(), kind="image"), record(0)]
    append_clusters(ref, "b1", records)
    append_clusters(ref, "b2", [])
    found = read_clusters(ref, "b1")
    assert said(found) == said([records[1], records[2], records[0]])
    assert np.array_equal(found[0].centroid, records[1].centroid)
    table = lance.dataset(ref.companion("clusters").path).to_table()
    assert table.schema == CLUSTERS
    assert table.column("label").to_pylist() == [None, "sea, ship, harbour", "sea, ship, harbour"]


def test_a_build_may_take_its_own_back(ref):
    append_clusters(ref, "b1", [record()])
    append_clusters(ref, "it's", [record()])
    drop_clusters(ref, "it's")
    assert (len(read_clusters(ref, "b1")), read_clusters(ref, "it's")) == (1, [])


def test_a_copy_is_made_once(ref):
    append_clusters(ref, "b1", [record(0), record(1)])
    copy_clusters(ref, "b1", "b2")
    copy_clusters(ref, "b1", "b2")
    assert said(read_clusters(ref, "b2")) == said(read_clusters(ref, "b1"))
    assert lance.dataset(ref.companion("clusters").path).count_rows() == 4


def test_a_build_without_its_own_has_those_of_the_last_one_with_its_fit(ref, made_manifest):
    append_clusters(ref, "b1", [record(size=1)])
    append_clusters(ref, "b2", [record(size=2)])
    append_clusters(ref, "b3", [record(size=3, fit_id="fit-b")])
    sizes = {
        fit: [each.size for each in clusters_for(ref, made_manifest("other", fit))]
        for fit in ("fit-a", "fit-b", "fit-c", None)
    }
    assert sizes == {"fit-a": [2], "fit-b": [3], "fit-c": [], None: []}
    assert [each.size for each in clusters_for(ref, made_manifest("b1", "fit-a"))] == [1]


@pytest.fixture
def made_manifest():
    from schemas.manifest import EmbedderRecord, Manifest

    def make(build_id: str, fit_id: str | None) -> Manifest:
        embedder = EmbedderRecord(
            fingerprint="f", kind="k", model="m", dimensions=2, precision="fp32", engine="torch"
        )
        return Manifest(
            space="notes",
            build_id=build_id,
            tag="prod",
            resolved_spec={},
            embedder=embedder,
            fit_id=fit_id,
            code_version="0",
            started_at=datetime.now(UTC),
        )

    return make


def test_what_no_release_needs_goes_once_it_is_old(ref):
    append_clusters(ref, "b1", [record(0), record(1)])
    append_clusters(ref, "b2", [record()])
    assert trim_clusters(ref, {"b2"}, datetime.now(UTC) - timedelta(hours=1)) == 0
    assert trim_clusters(ref, {"b2"}, datetime.now(UTC) + timedelta(hours=1)) == 2
    assert (read_clusters(ref, "b1"), len(read_clusters(ref, "b2"))) == ([], 1)


def test_blanking_leaves_no_word_of_other_builds(ref):
    append_clusters(ref, "b1", [record(0), record(0, kind="image", terms=("red ring",))])
    append_clusters(ref, "b2", [record()])
    blank_clusters(ref, "b3", [record(terms=("new",), representatives=("docs:c",))])
    assert said(read_clusters(ref, "b1")) == [
        ("image", 0, ("red ring",), 7, ()),
        ("text", 0, (), 7, ()),
    ]
    assert said(read_clusters(ref, "b2")) == [("text", 0, (), 7, ())]
    assert said(read_clusters(ref, "b3")) == [("text", 0, ("new",), 7, ("docs:c",))]
