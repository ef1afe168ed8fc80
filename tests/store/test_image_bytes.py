"""Images found again by their uri and locator, each container opened once."""

from __future__ import annotations

import random
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from made_images import made_image, made_tar
from tasks.store import image_bytes
from tasks.store.image_bytes import range_locator, read_images, row_locator

PICTURES = [made_image(f"hsl({number * 20}, 80%, 40%)") for number in range(18)]


@pytest.fixture
def table(tmp_path: Path) -> str:
    rows = pa.table({"image": pa.array(PICTURES, pa.binary())})
    pq.write_table(rows, tmp_path / "a.parquet", row_group_size=7)
    return str(tmp_path / "a.parquet")


def test_a_whole_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PICTURES[0])
    assert list(read_images([str(tmp_path / "a.png")], [None])) == [PICTURES[0]]


def test_rows_in_any_order(table: str) -> None:
    rows = [*range(18), *random.Random(5).sample(range(18), 18), 3, 3]
    places = [row_locator(row, "image") for row in rows]
    assert list(read_images([table] * len(rows), places)) == [PICTURES[row] for row in rows]


def test_neighbours_share_one_open_file(table: str, tmp_path: Path, monkeypatch) -> None:
    tar = str(made_tar(tmp_path / "a.tar", {"1.png": PICTURES[0]}))
    opened: list[str] = []

    def counted(uri: str, options: object) -> object:
        opened.append(uri)
        return Path(uri).open("rb")

    monkeypatch.setattr(image_bytes, "open_uri", counted)
    uris = [table] * 18 + [tar] * 3
    places = [row_locator(row, "image") for row in range(18)]
    places += [range_locator(512, len(PICTURES[0]))] * 3
    assert list(read_images(uris, places)) == PICTURES + PICTURES[:1] * 3
    assert opened == [table, tar]


def test_object_stores_are_read_through_fsspec() -> None:
    with fsspec.open("memory://bucket/a.bin", "wb") as file:
        file.write(b"...." + PICTURES[1])
    uri = "memory://bucket/a.bin"
    found = read_images([uri, uri], [range_locator(4, len(PICTURES[1])), None])
    assert list(found) == [PICTURES[1], b"...." + PICTURES[1]]


@pytest.mark.parametrize(
    ("locator", "left"),
    [
        (None, b""),
        (range_locator(0, 10), b""),
        (row_locator(0, "image"), b""),
    ],
)
def test_of_a_file_that_is_gone_nothing_is_left(tmp_path: Path, locator: str, left: bytes) -> None:
    (tmp_path / "there.png").write_bytes(PICTURES[2])
    uris = [str(tmp_path / "gone"), str(tmp_path / "there.png")]
    assert list(read_images(uris, [locator, None])) == [left, PICTURES[2]]


def test_a_file_that_changed_gives_other_bytes_than_the_record_had(table: str) -> None:
    places = [row_locator(17, "image"), row_locator(18, "image"), row_locator(0, "photo")]
    assert list(read_images([table] * 3, places)) == [PICTURES[17], b"", b""]
    Path(table).write_bytes(b"no parquet any more")
    assert list(read_images([table] * 2, places[:2])) == [b"", b""]
    assert list(read_images([table], [range_locator(3, 100)])) == [b"parquet any more"]


def test_a_file_that_may_not_be_read_is_an_error(tmp_path: Path, monkeypatch) -> None:
    def denied(uri: str, options: object) -> object:
        raise PermissionError(13, "Permission denied", uri)

    monkeypatch.setattr(image_bytes, "open_uri", denied)
    with pytest.raises(PermissionError):
        list(read_images([str(tmp_path / "a.png")], [None]))
