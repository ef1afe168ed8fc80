"""Image files of a folder: each is a record or a reject with its own reason."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest
from PIL import Image

from made_images import ingested, ingested_under_limit, made_image
from schemas.identity import digest_bytes
from tasks.ingest import images
from tasks.store.image_bytes import read_images


def test_a_record_tells_what_the_file_is(tmp_path: Path) -> None:
    folder = tmp_path / "photos/beach"
    folder.mkdir(parents=True)
    data = made_image("red", "JPEG", (300, 200))
    (folder / "one.jpg").write_bytes(data)

    found = ingested(tmp_path / "photos", tmp_path / "work")

    (record,) = found.records
    thumbnail = record.pop("thumbnail")
    assert thumbnail[:3] == b"\xff\xd8\xff"
    assert record == {
        "row": 0,
        "source": "photos",
        "key": "beach/one.jpg",
        "kind": "image",
        "uri": str(folder / "one.jpg"),
        "locator": None,
        "text": None,
        "content_hash": digest_bytes(data),
        "size": len(data),
        "width": 300,
        "height": 200,
        "time": None,
    }
    assert list(read_images([record["uri"]], [record["locator"]])) == [data]


def test_each_reason_by_a_file_that_has_it(tmp_path: Path) -> None:
    whole = made_image("blue", "PNG", (64, 64))
    files = {
        "a good.png": whole,
        "bomb.gif": b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\1\0\1\0\0\2\1L\0;",
        "corrupt.png": whole[:60] + b"\0" * 40 + whole[100:],
        "cut.png": whole[:-30],
        "document.pdf": b"%PDF-1.7",
        "empty.jpg": b"",
        "name without ending": whole,
        "pixel.gif": made_image("red", "GIF", (1, 1)),
        "wrong ending.jpg": whole,
    }
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (tmp_path / "outside.png").write_bytes(whole)
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "gone.png").symlink_to(folder / "no such file.png")

    found = ingested(folder, tmp_path / "work")

    assert found.keys == ["a good.png", "name without ending", "wrong ending.jpg"]
    assert found.reasons == {
        "bomb.gif": "decompression-bomb",
        "corrupt.png": "corrupt-image",
        "cut.png": "truncated-image",
        "document.pdf": "unsupported-format",
        "empty.jpg": "empty-image",
        "gone.png": "unreadable-file",
        "link.png": "outside-root",
        "pixel.gif": "image-too-small",
    }
    assert len(found.records) + len(found.rejects) == found.files
    assert all(reject["detail"] for reject in found.rejects)


def test_a_huge_file_is_refused_without_being_read(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    with (folder / "huge.tif").open("wb") as file:
        file.truncate(1 << 33)  # sparse: takes no room
    monkeypatch.setattr(images, "open_uri", None)

    found = ingested(folder, tmp_path / "work")

    assert found.reasons == {"huge.tif": "decompression-bomb"}
    assert found.rejects[0]["detail"] == "the file has 8589934592 bytes, at most 268435456 are read"


def test_thumbnails_can_be_switched_off(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(made_image())
    found = ingested(tmp_path / "one.png", tmp_path / "work", thumbnails=False)
    assert found.records[0]["thumbnail"] is None


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.jpg").write_bytes(made_image(f"hsl({number * 18}, 80%, 50%)", "JPEG"))
    once = ingested(folder, tmp_path / "work1")
    assert once == ingested(folder, tmp_path / "work2")
    assert len(once.records) == 20


def bmp_header(width: int, height: int) -> bytes:
    numbers = struct.pack("<IIIIiiHHIIiiII", 0, 0, 54, 40, width, height, 1, 24, *[0] * 6)
    return b"BM" + numbers


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not enforce RLIMIT_AS")
def test_hostile_and_large_files_stay_under_three_gigabytes(tmp_path: Path) -> None:
    """A picture of nearly the limit, on its side, beside bombs just above it and far."""
    folder = tmp_path / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    large = made_image("green", "JPEG", (12_000, 9_990), exif=exif)
    (folder / "large.jpg").write_bytes(large)
    for side in (11_000, 30_000, 60_000):
        (folder / f"bomb {side}.bmp").write_bytes(bmp_header(side, side))

    files, keys, reasons = ingested_under_limit(folder, tmp_path / "work")

    assert (files, keys) == (4, ["large.jpg"])
    assert set(reasons.values()) == {"decompression-bomb"}
