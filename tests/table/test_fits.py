"""Fits in their companion: read as they were written, written once, without what was forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from schemas.errors import VecmillError
from tasks.geometry.fit import AnchorMap, Fit, KindFit, PlaneMap
from tasks.table import fits
from tasks.table.dataset import TableRef, open_main
from tasks.table.fits import append_fit, drop_anchors, free_ids, has_fit, read_fit, trim_fits

DRAW = np.random.default_rng(5)
CONTENTS = np.array([bytes([n]) * 16 for n in range(1, 6)], "S16")


def vectors(rows: int, dimensions: int = 8) -> np.ndarray:
    return DRAW.normal(size=(rows, dimensions)).astype(np.float32)


def kind_fit(kind: str, **changes: object) -> KindFit:
    made = {
        "method": "kmeans",
        "rows": 77,
        "centroids": vectors(3),
        "ids": np.array([4, 7, 9], np.int32),
        "radii": np.array([0.1, np.inf, 0.3], np.float32),
        "reach": 1 / 3,
        "cells": vectors(6),
        "map": PlaneMap(vectors(1)[0], vectors(8, 2)),
    }
    return KindFit(kind=kind, **{**made, **changes})


@pytest.fixture
def fit() -> Fit:
    anchors = AnchorMap(vectors(5), vectors(5, 2), CONTENTS)
    return Fit("fit-one", {"image": kind_fit("image", map=anchors), "text": kind_fit("text")})


@pytest.fixture
def ref(tmp_path) -> TableRef:
    return TableRef(str(tmp_path / "db"), "notes")


def assert_same(found: KindFit, wanted: KindFit) -> None:
    for name, value in vars(wanted).items():
        have = getattr(found, name)
        if isinstance(value, PlaneMap | AnchorMap):
            assert type(have) is type(value)
            for part, array in vars(value).items():
                np.testing.assert_array_equal(getattr(have, part), array)
                assert getattr(have, part).dtype == array.dtype
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(have, value)
            assert (have.dtype, have.shape) == (value.dtype, value.shape)
        else:
            assert have == value


def test_a_fit_is_read_as_it_was_written(ref, fit):
    assert append_fit(ref, fit)
    found = read_fit(ref, "fit-one")
    assert list(found.kinds) == ["image", "text"]
    for kind, own in fit.kinds.items():
        assert_same(found.kinds[kind], own)


def test_clusters_map_and_cells_may_be_missing(ref):
    none = np.empty((0, 8), np.float32)
    bare = kind_fit(
        "text",
        centroids=none,
        ids=np.empty(0, np.int32),
        radii=np.empty(0, np.float32),
        cells=none,
        map=None,
    )
    append_fit(ref, Fit("fit-bare", {"text": bare}))
    assert_same(read_fit(ref, "fit-bare").kinds["text"], bare)


def test_a_fit_is_written_once_and_read_once(ref, fit, monkeypatch):
    assert append_fit(ref, fit)
    rows = open_main(ref.companion("fits")).count_rows()
    assert not append_fit(ref, fit)
    assert open_main(ref.companion("fits")).count_rows() == rows
    monkeypatch.setattr("tasks.table.fits.FRESH", timedelta(0))  # or two builders at once
    assert append_fit(ref, fit)
    assert open_main(ref.companion("fits")).count_rows() == 2 * rows
    assert_same(read_fit(ref, "fit-one").kinds["image"], fit.kinds["image"])


def test_a_fit_that_is_not_there_is_named_with_the_way_on(ref, fit):
    with pytest.raises(VecmillError, match=r"does not hold 'fit-two'.*maintain SPEC --refit"):
        read_fit(ref, "fit-two")
    append_fit(ref, fit)
    with pytest.raises(VecmillError, match="notes__fits"):
        read_fit(ref, "fit-two")


def test_anchors_of_what_is_forgotten_leave_every_fit(ref, fit):
    other = Fit("fit-two", fit.kinds)
    append_fit(ref, fit)
    append_fit(ref, other)
    assert drop_anchors(ref, {bytes(CONTENTS[1]), b"x" * 16}) == 2
    assert drop_anchors(ref, {bytes(CONTENTS[1])}) == 0
    for name in ("fit-one", "fit-two"):
        found = read_fit(ref, name).kinds["image"].map
        np.testing.assert_array_equal(found.contents, CONTENTS[[0, 2, 3, 4]])
        wanted = fit.kinds["image"].map
        np.testing.assert_array_equal(found.vectors, wanted.vectors[[0, 2, 3, 4]])
        np.testing.assert_array_equal(found.places, wanted.places[[0, 2, 3, 4]])


def test_fits_without_a_release_go_when_they_are_old(ref, fit):
    append_fit(ref, fit)
    append_fit(ref, Fit("fit-two", fit.kinds))
    assert trim_fits(ref, {"fit-two"}, datetime.now(UTC) - timedelta(hours=1)) == 0
    assert trim_fits(ref, {"fit-two"}, datetime.now(UTC)) == 1
    assert (has_fit(ref, "fit-one"), has_fit(ref, "fit-two")) == (False, True)
    assert trim_fits(ref, set(), datetime.now(UTC)) == 1
    assert not has_fit(ref, "fit-two")


def test_a_fit_that_is_made_again_meanwhile_stays(ref, fit, monkeypatch):
    append_fit(ref, fit)
    old = datetime.now(UTC)
    monkeypatch.setattr("tasks.table.fits.FRESH", timedelta(0))
    seen = fits._made(ref)
    append_fit(ref, fit)
    monkeypatch.setattr("tasks.table.fits._made", lambda _: seen)
    assert trim_fits(ref, set(), old) == 1
    assert_same(read_fit(ref, "fit-one").kinds["text"], fit.kinds["text"])


def test_free_ids_are_above_all_that_were_given(ref, fit):
    assert free_ids(ref) == {}
    append_fit(ref, fit)
    ids = np.array([12, 13, 14], np.int32)
    append_fit(ref, Fit("fit-two", {"text": kind_fit("text", ids=ids)}))
    assert free_ids(ref) == {"image": 10, "text": 15}
