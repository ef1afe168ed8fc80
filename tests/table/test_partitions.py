"""Partitions of a vector index: each row in that of its nearest centroid, and found there."""

from __future__ import annotations

from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from tasks.table import index as module
from tasks.table import segments
from tasks.table.history import is_conflict
from tasks.table.partitions import assignments, centroids, trainable, trained

TOPICS, DIMENSIONS = 8, 16


def planted(rows: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around a few directions, of any length, and the topic of each."""
    topics = np.linalg.qr(draw.normal(size=(DIMENSIONS, DIMENSIONS)))[0][:TOPICS]
    own = draw.integers(0, TOPICS, rows)
    vectors = topics[own] + 0.05 * draw.normal(size=(rows, DIMENSIONS))
    return (vectors * draw.uniform(0.5, 2, (rows, 1))).astype(np.float32), own


def dataset(folder, vectors: np.ndarray, kind: pa.DataType) -> lance.LanceDataset:
    values = pa.array(vectors.astype(kind.to_pandas_dtype()).ravel())
    column = pa.FixedSizeListArray.from_arrays(values, vectors.shape[1])
    table = pa.table({"id": np.arange(len(vectors)), "vector": column})
    return lance.write_dataset(table, str(folder / "t.lance"), max_rows_per_file=700)


def nearest_of(vectors: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The centroid that each vector is nearest to, once it has length 1: as Lance searches."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return (unit @ found.T - (found**2).sum(axis=1) / 2).argmax(axis=1)


def uneven_clusters(rows: int, dimensions: int) -> np.ndarray:
    """Unit vectors in a few large clusters and hundreds of small ones, as topics of texts are."""
    draw = np.random.default_rng(0)
    topics = draw.normal(size=(400, dimensions))
    flat = 0.25 * draw.normal(size=(400, 16, dimensions))  # each has 16 directions of its own
    own = draw.zipf(1.3, rows) % 400
    own.sort()
    noise = 0.15 * draw.normal(size=(rows, dimensions))
    inside = [draw.normal(size=(size, 16)) @ flat[n] for n, size in enumerate(np.bincount(own))]
    vectors = (topics[own] + np.concatenate(inside) + noise).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_neighbours_in_small_clusters_are_found_in_a_fifth_of_the_partitions():
    vectors = uneven_clusters(20_000, 96)
    found = trained(vectors, 50)
    partition = nearest_of(vectors, found)
    queries = np.random.default_rng(1).choice(len(vectors), 200, replace=False)
    hits = 0
    for query in vectors[queries]:
        ten = np.argsort(vectors @ query)[-10:]
        away = ((found - query) ** 2).sum(axis=1)
        hits += np.isin(partition[ten], np.argsort(away)[:10]).sum()
    assert hits / 2_000 > 0.975  # unit vectors as centroids, seeds drawn evenly: 0.95


def test_copies_are_one_centroid():
    same = np.tile(np.eye(2, 4, dtype=np.float32), (20, 1))
    assert len(trained(same, 5)) == 2


def kept(made: lance.LanceDataset) -> list[str]:
    """The folders of the table's indexes."""
    return [path.name for path in (Path(made.uri) / "_indices").iterdir()]


def test_planted_topics_are_found():
    draw = np.random.default_rng(0)
    vectors, own = planted(2_000, draw)
    found = trained(vectors, 24)
    assert found.shape == (24, DIMENSIONS)
    nearest = nearest_of(vectors, found)
    pure = sum(np.bincount(own[nearest == n]).max(initial=0) for n in range(24))
    assert pure / len(own) > 0.99


def test_vectors_without_direction_train_nothing():
    odd = np.zeros((3, 4), np.float32)
    odd[0, 0], odd[1, 1] = np.nan, np.inf
    assert trained(odd, 2).shape == (0, 4)


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32()], ids=str)
def test_each_row_goes_to_its_nearest_centroid(tmp_path, kind):
    vectors, _ = planted(2_000, np.random.default_rng(1))
    vectors[5], vectors[6, 0] = 0, np.nan
    made = dataset(tmp_path, vectors, kind)
    found = centroids(made, 12)
    assert found.tobytes() == centroids(made, 12).tobytes()  # the same rows, the same partitions
    table = assignments(made, found).read_all()
    rows = made.to_table(columns=["id"], with_row_id=True)
    ids = dict(zip(rows["_rowid"].to_pylist(), rows["id"].to_pylist(), strict=True))
    places = [ids[row] for row in table["row_id"].to_pylist()]
    assert sorted(places) == [n for n in range(2_000) if n not in (5, 6)]
    exact = made.to_table(columns=["vector"])["vector"].combine_chunks().flatten().to_numpy()
    exact = exact.astype(np.float32).reshape(-1, DIMENSIONS)[places]
    assert (table["partition"].to_numpy() == nearest_of(exact, found)).all()


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32()], ids=str)
@pytest.mark.parametrize("odd", [False, True], ids=["", "odd vectors"])
@pytest.mark.parametrize("rows", [700, 1_500, 10_000], ids=["of a fragment", "of two", "one"])
def test_the_index_finds_what_a_scan_finds(tmp_path, monkeypatch, kind, odd, rows):
    monkeypatch.setattr(module, "PARTITION_ROWS", 50)
    monkeypatch.setattr(segments, "SEGMENT_ROWS", rows)
    vectors, _ = planted(3_000, np.random.default_rng(2))
    if odd:
        vectors[5], vectors[6, 0] = 0, np.nan
    made = dataset(tmp_path, vectors, kind)
    made.delete("id % 7 = 0")
    module._vector_index(made)
    made = lance.dataset(made.uri)
    [index] = made.describe_indices()
    assert index.num_rows_indexed == made.count_rows()  # no search scans the odd ones again
    assert [str(piece.uuid) for piece in index.segments] == kept(made)
    hits = 0
    for query in vectors[8:28]:
        search = {"column": "vector", "q": query, "k": 10, "metric": "cosine"}
        found, exact = (
            set(made.to_table(columns=["id", "_distance"], nearest=each)["id"].to_pylist())
            for each in (search, {**search, "use_index": False})
        )
        hits += len(found & exact)
    assert hits / 200 > 0.98


def test_a_table_without_any_direction_is_left_to_lance(tmp_path, monkeypatch):
    asked: list[dict] = []

    class Recorded:
        def __init__(self, inner: lance.LanceDataset) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> object:
            if name == "create_index":
                return lambda *_, **options: asked.append(options)
            return getattr(self.inner, name)

    made = Recorded(dataset(tmp_path, np.ones((10, 4), np.float32), pa.float32()))
    monkeypatch.setattr(module, "trainable", lambda *_: False)
    module._vector_index(made)
    assert [options.get("target_partition_size") for options in asked] == [module.PARTITION_ROWS]
    assert "ivf_centroids" not in asked[0]


def test_of_two_builders_one_conflicts_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "SEGMENT_ROWS", 700)
    vectors, _ = planted(2_000, np.random.default_rng(3))
    one = dataset(tmp_path, vectors, pa.float32())
    other = lance.dataset(one.uri)
    module._vector_index(one)
    with pytest.raises(Exception, match="conflict") as raised:
        module._vector_index(other)
    assert is_conflict(raised.value)
    [index] = lance.dataset(one.uri).describe_indices()
    assert [str(piece.uuid) for piece in index.segments] == kept(one)


def test_an_index_is_replaced_by_a_new_one(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "SEGMENT_ROWS", 700)
    vectors, _ = planted(2_000, np.random.default_rng(4))
    made = dataset(tmp_path, vectors, pa.float32())
    module._vector_index(made)
    [before] = lance.dataset(made.uri).describe_indices()
    module._vector_index(lance.dataset(made.uri), replace=True)
    [after] = lance.dataset(made.uri).describe_indices()
    assert before.segments[0].uuid != after.segments[0].uuid
    assert len(after.segments) == 1


def test_how_many_centroids_can_be_trained():
    assert trainable(244, 128)  # a million rows
    assert not trainable(24_000, 768)  # a hundred million


def test_the_table_may_lie_on_an_object_store(bucket, monkeypatch):
    monkeypatch.setattr(module, "PARTITION_ROWS", 50)
    vectors, _ = planted(300, np.random.default_rng(3))
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSIONS)
    table = pa.table({"id": np.arange(len(vectors)), "vector": column})
    where = f"{bucket.uri}/t.lance"
    module._vector_index(lance.write_dataset(table, where, storage_options=bucket.options))
    made = lance.dataset(where, storage_options=bucket.options)
    [index] = made.describe_indices()
    assert (index.num_rows_indexed, len(index.segments)) == (300, 1)
    search = {"column": "vector", "q": vectors[7], "k": 1, "metric": "cosine"}
    assert made.to_table(columns=["id", "_distance"], nearest=search)["id"].to_pylist() == [7]


def test_an_index_whose_commit_the_store_denied_keeps_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PARTITION_ROWS", 50)
    vectors, _ = planted(300, np.random.default_rng(4))
    made = dataset(tmp_path, vectors, pa.float32())
    commit = lance.LanceDataset.commit_existing_index_segments

    def denied(*given: object) -> None:
        commit(*given)
        raise OSError("500")

    monkeypatch.setattr(lance.LanceDataset, "commit_existing_index_segments", denied)
    with pytest.raises(OSError, match="500"):
        module._vector_index(made)
    search = {"column": "vector", "q": vectors[7], "k": 1, "metric": "cosine"}
    found = lance.dataset(made.uri).to_table(columns=["id", "_distance"], nearest=search)
    assert found["id"].to_pylist() == [7]
