"""Norms, the flat picture and the sample: arrays in, arrays out, the same for the same content."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from schemas.identity import content_hashes
from tasks.report.geometry import norm_histogram, principal_plane
from tasks.report.sample import sample_offsets

RANDOM = np.random.default_rng(7)


def test_unit_vectors_are_one_narrow_hill():
    vectors = RANDOM.normal(size=(500, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    edges, counts, mean = norm_histogram(vectors)
    assert counts.sum() == 500
    assert mean == pytest.approx(1.0)
    assert edges[-1] - edges[0] == pytest.approx(1e-3)


def test_values_that_are_not_finite_are_left_out():
    vectors = np.array([[1.0, 0.0], [np.nan, 1.0], [np.inf, 0.0], [0.0, 2.0]], np.float16)
    _, counts, mean = norm_histogram(vectors)
    assert (counts.sum(), mean) == (2, 1.5)
    plane, explained = principal_plane(vectors)
    assert np.isfinite(plane).all()
    assert 0 <= explained <= 1


def test_the_plane_is_where_the_variance_is():
    data = np.zeros((200, 5))
    data[:, 3] = RANDOM.normal(scale=10, size=200)
    data[:, 1] = RANDOM.normal(scale=3, size=200)
    data += RANDOM.normal(scale=0.01, size=data.shape)
    plane, explained = principal_plane(data)
    assert explained > 0.99
    assert abs(np.corrcoef(plane[:, 0], data[:, 3])[0, 1]) > 0.99


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_vectors_have_a_picture_too(count):
    plane, _ = principal_plane(np.ones((count, 4)))
    assert plane.shape == (count, 2)
    norm_histogram(np.ones((count, 4)))


def batches(names: list[str], size: int) -> list[pa.RecordBatch]:
    kinds = ["image" if name.startswith("pic") else "text" for name in names]
    table = pa.table({"kind": kinds, "row_hash": content_hashes(names)})
    return table.to_batches(max_chunksize=size)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_sample_depends_on_neither_order_nor_batches(size):
    names = [f"doc{i}" for i in range(60)] + [f"pic{i}" for i in range(5)]
    mixed = [names[i] for i in RANDOM.permutation(len(names))]

    def drawn(order):
        return {
            sample.kind: (sample.of, [order[at] for at in sample.offsets])
            for sample in sample_offsets(batches(order, size), 10)
        }

    assert drawn(names) == drawn(mixed)
    assert drawn(names)["text"][0] == 60
    assert len(drawn(names)["text"][1]) == 10
    assert len(drawn(names)["image"][1]) == 5


def test_sliced_batches_keep_their_own_hashes():
    names = [f"doc{i}" for i in range(20)]
    whole = batches(names, 1000)[0]
    parts = [whole.slice(0, 7), whole.slice(7)]
    assert [s.offsets.tolist() for s in sample_offsets(parts, 5)] == [
        s.offsets.tolist() for s in sample_offsets([whole], 5)
    ]
