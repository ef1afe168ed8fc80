"""Images in parquet: bytes or Hugging Face's structs, each row a record or a reject."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from made_images import ingested, made_image
from schemas.errors import UsageError
from tasks.ingest import image_table
from tasks.store.image_bytes import read_images

RED, BLUE = made_image("red"), made_image("blue", "JPEG")


def written(path: Path, images: pa.Array, **columns: object) -> Path:
    keys = pa.array([f"k{number}" for number in range(len(images))])
    table = pa.table({"id": keys, "image": images, **columns})
    pq.write_table(table, path, row_group_size=2)
    return path


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(pa.array([RED, BLUE, RED], pa.binary()), id="binary"),
        pytest.param(pa.array([RED, BLUE, RED], pa.large_binary()), id="large_binary"),
        pytest.param(pa.array([RED, BLUE, RED]).dictionary_encode(), id="dictionary"),
        pytest.param(
            pa.array([{"bytes": image, "path": None} for image in (RED, BLUE, RED)], STRUCT),
            id="struct of Hugging Face",
        ),
    ],
)
def test_each_row_is_a_record_that_can_be_read_again(tmp_path: Path, images: pa.Array) -> None:
    labels = pa.array(["a", "b", "c"])
    table = written(tmp_path / "train.parquet", images, label=labels)
    found = ingested(table, tmp_path / "work", key="id", image="image", columns=["label"])
    assert [(record["key"], record["label"]) for record in found.records] == [
        ("k0", "a"),
        ("k1", "b"),
        ("k2", "c"),
    ]
    locators = [record["locator"] for record in found.records]
    assert locators == ["row:0:image", "row:1:image", "row:2:image"]
    assert list(read_images([str(table)] * 3, locators)) == [RED, BLUE, RED]


def test_rows_that_are_no_picture_are_rejects_with_their_row(tmp_path: Path) -> None:
    images = pa.array([None, RED, b"", b"%PDF-1.7", BLUE[:-40]], pa.binary())
    found = ingested(
        written(tmp_path / "a.parquet", images), tmp_path / "work", key="id", image="image"
    )
    assert found.keys == ["k1"]
    assert [(r["key"], r["reason"], r["position"], r["row"]) for r in found.rejects] == [
        ("k0", "empty-image", 0, 0),
        ("k2", "empty-image", 2, 2),
        ("k3", "unsupported-format", 3, 3),
        ("k4", "truncated-image", 4, 4),
    ]


def test_a_null_struct_is_an_empty_image(tmp_path: Path) -> None:
    images = pa.array([None, {"bytes": RED, "path": None}, {"bytes": None, "path": "x"}], STRUCT)
    found = ingested(
        written(tmp_path / "a.parquet", images), tmp_path / "work", key="id", image="image"
    )
    assert found.reasons == {"k0": "empty-image", "k2": "empty-image"}


def test_a_column_that_is_not_there_costs_every_row(tmp_path: Path) -> None:
    table = written(tmp_path / "a.parquet", pa.array([RED, BLUE], pa.binary()))
    found = ingested(table, tmp_path / "work", key="id", image="imgae")
    assert found.reasons == {"k0": "missing-column", "k1": "missing-column"}
    assert found.rejects[0]["detail"] == "no column 'imgae' (image? it has: id, image)"


def test_a_column_of_another_type_costs_every_row(tmp_path: Path) -> None:
    table = written(tmp_path / "a.parquet", pa.array(["a.png", "b.png"]))
    found = ingested(table, tmp_path / "work", key="id", image="image")
    assert found.reasons == {"k0": "bad-value", "k1": "bad-value"}
    expected = "column 'image': expected binary or a struct with `bytes`, got string"
    assert found.rejects[0]["detail"] == expected


@pytest.mark.parametrize(
    ("given", "missing"), [({"key": "id"}, "image"), ({"image": "image"}, "key")]
)
def test_a_table_needs_a_key_and_an_image_column(
    tmp_path: Path, given: dict[str, str], missing: str
) -> None:
    table = written(tmp_path / "a.parquet", pa.array([RED], pa.binary()))
    with pytest.raises(UsageError, match=rf"sources\[0\]\.{missing}: not set"):
        ingested(table, tmp_path / "work", **given)


def test_a_broken_file_is_one_reject(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and nothing more")
    found = ingested(tmp_path / "a.parquet", tmp_path / "work", key="id", image="image")
    assert found.reasons == {None: "unreadable-file"}


def test_images_and_columns_stay_together_across_batches(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(image_table, "BATCH_ROWS", 3)
    images = pa.array([made_image(f"hsl({n * 9}, 90%, 50%)") for n in range(40)], pa.binary())
    table = written(tmp_path / "a.parquet", images, n=pa.array(np.arange(40)))
    found = ingested(table, tmp_path / "work", key="id", image="image", columns=["n"])
    assert [record["n"] for record in found.records] == list(range(40))
    locators = [record["locator"] for record in found.records]
    assert list(read_images([str(table)] * 40, locators)) == images.to_pylist()
