"""Sizes, representatives and terms of clusters, from a table made here."""

from __future__ import annotations

import lance
import numpy as np
import pyarrow as pa
import pytest

from flows.demo.scenes import MODEL_FOLDER
from schemas.arrow import table_schema
from schemas.identity import content_hashes
from schemas.spec import EmbedderSpec
from tasks.cluster.describe import Groups, describe_clusters, groups_from, known_terms

CENTROIDS = np.eye(2, 3, dtype=np.float32)
SAID = ("cats purr at home", "ships leave the harbour")


def table(count: int = 20, kind: str = "text", vector_type: str = "float16") -> pa.Table:
    """Rows of two clusters in turn, the later ones farther from the centroid; the first a copy."""
    schema = table_schema(3, vector_type)
    number = np.arange(count) % 2
    vectors = CENTROIDS[number] + np.linspace(0, 0.5, count)[:, None] * np.array([0, 0, 1])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"a:{i:02}" for i in range(count)]
    known = {
        "id": ids,
        "kind": [kind] * count,
        "text": [SAID[n] if kind == "text" else None for n in number],
        "cluster": number,
        "row_hash": content_hashes(ids),
        "vector": list(vectors.astype(schema.field("vector").type.value_type.to_pandas_dtype())),
        "duplicate_of": ["a:02", *[None] * (count - 1)],
    }
    return pa.table(
        [pa.array(known.get(f.name, [None] * count), f.type) for f in schema], schema=schema
    )


def groups(kind: str = "text", ids: tuple[int, ...] = (0, 1)) -> list[Groups]:
    centroids = np.eye(len(ids), 3, dtype=np.float32)
    return [Groups("fit-a", kind, np.array(ids, np.int32), centroids)]


def test_a_cluster_has_its_size_its_nearest_rows_and_its_words(tmp_path):
    dataset = lance.write_dataset(table(), str(tmp_path / "t.lance"))
    cats, ships = describe_clusters(dataset, groups(), {})
    assert (cats.size, ships.size) == (10, 10)
    assert cats.representatives == ("a:02", "a:04", "a:06", "a:08", "a:10", "a:12")
    assert ships.representatives[0] == "a:01"
    assert set(cats.terms[0].split()) <= {"cats", "purr", "home"}
    assert cats.label == ", ".join(cats.terms[:3])


@pytest.mark.parametrize("vector_type", ["float16", "float32"])
def test_order_fragments_and_the_type_of_vectors_do_not_matter(tmp_path, vector_type):
    rows = table(vector_type=vector_type)
    mixed = rows.take(np.random.default_rng(5).permutation(rows.num_rows))
    one = lance.write_dataset(table(), str(tmp_path / "a.lance"))
    other = lance.write_dataset(mixed, str(tmp_path / "b.lance"), max_rows_per_file=7)
    found = [describe_clusters(dataset, groups(), {}) for dataset in (one, other)]
    said = [[(r.cluster, r.size, r.terms, r.representatives) for r in each] for each in found]
    assert said[0] == said[1]


def test_known_terms_stay_while_the_centroid_does(tmp_path):
    dataset = lance.write_dataset(table(), str(tmp_path / "t.lance"))
    before = describe_clusters(dataset, groups(), {})
    known = dict.fromkeys(known_terms(before), ("kept",))
    again = describe_clusters(dataset, groups_from(before), known)
    assert [each.terms for each in again] == [("kept",), ("kept",)]
    moved = [Groups("fit-b", "text", np.array([0, 1], np.int32), np.eye(3, dtype=np.float32)[1:])]
    anew = describe_clusters(dataset, moved, known)
    assert ("kept",) not in [each.terms for each in anew]


def test_an_empty_cluster_is_there_without_words(tmp_path):
    dataset = lance.write_dataset(table(), str(tmp_path / "t.lance"))
    [*_, empty] = describe_clusters(dataset, groups(ids=(0, 1, 7)), {})
    assert (empty.cluster, empty.size, empty.terms, empty.representatives) == (7, 0, (), ())
    assert (empty.label, empty.name) == (None, "cluster 7")


def test_kinds_are_counted_apart(tmp_path):
    both = pa.concat_tables([table(20), table(8, kind="image")])
    dataset = lance.write_dataset(both, str(tmp_path / "t.lance"))
    found = describe_clusters(dataset, [*groups("text"), *groups("image")], {})
    sizes = [(each.kind, each.cluster, each.size) for each in found]
    assert sizes == [("image", 0, 4), ("image", 1, 4), ("text", 0, 10), ("text", 1, 10)]


def test_pictures_without_an_embedder_of_words_stand_for_themselves(tmp_path):
    dataset = lance.write_dataset(table(kind="image"), str(tmp_path / "t.lance"))
    found = describe_clusters(dataset, groups("image"), {})
    assert [(each.label, len(each.representatives)) for each in found] == [(None, 6), (None, 6)]


def test_pictures_in_a_space_of_words_are_named_by_the_nearest(tmp_path):
    """With the demo's CLIP: the centroids are the vectors of what it should say."""
    from tasks.embedders.load import load
    from tasks.embedders.resolve import resolve

    spec = EmbedderSpec(kind="open-clip", model=str(MODEL_FOLDER))
    embedder = resolve(spec, {"image"}).plain
    shown = load(embedder).embed_texts(["a red ring", "a blue heart"], query=True)
    shown /= np.linalg.norm(shown, axis=1, keepdims=True)
    width = shown.shape[1]
    rows = table(kind="image")
    schema = table_schema(width)
    vectors = list(shown[np.arange(20) % 2].astype(np.float16))
    columns = [
        pa.array(vectors, f.type) if f.name == "vector" else rows.column(f.name) for f in schema
    ]
    dataset = lance.write_dataset(pa.table(columns, schema=schema), str(tmp_path / "t.lance"))
    clusters = [Groups("fit-a", "image", np.array([0, 1], np.int32), shown)]
    red, blue = describe_clusters(dataset, clusters, {}, embedder)
    assert "red ring" in red.terms
    assert "blue heart" in blue.terms
