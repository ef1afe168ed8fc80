"""Clusters and map over the builds of a space: fitted once, then rows are placed by that fit."""

from __future__ import annotations

import lance
import pytest

CLUSTER = {"k": 3, "map": "pca"}


@pytest.fixture
def fitted(notes):
    """The notes, with three clusters and a map."""
    notes.changes["cluster"] = CLUSTER
    return notes


def places(space, tag: str = "prod") -> dict[str, tuple]:
    """id → cluster, x, y of a release."""
    table = lance.dataset(space.ref.path, version=tag).to_table(columns=["id", "cluster", "x", "y"])
    columns = [table.column(name).to_pylist() for name in ("id", "cluster", "x", "y")]
    return {row: (cluster, x, y) for row, cluster, x, y in zip(*columns, strict=True)}


def test_the_first_build_fits_and_later_ones_place(fitted, texts):
    first = fitted.build().manifest
    before = places(fitted)
    assert {cluster for cluster, *_ in before.values()} == {0, 1, 2}
    assert all(x is not None and y is not None for _, x, y in before.values())
    fitted.write({**texts, "n3": texts["n4"], "fresh": texts["n5"]})
    second = fitted.build().manifest
    assert (second.release, second.fit_id) == ("v0002", first.fit_id)
    counts = second.counts
    assert (counts.new, counts.changed, counts.rejudged, counts.unchanged) == (1, 1, 2, 27)
    copies = {"docs:n3": before["docs:n4"], "docs:fresh": before["docs:n5"]}
    assert places(fitted) == {**before, **copies}
    assert second.timings.cluster > 0
