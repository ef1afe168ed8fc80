"""WebDataset tars: image members are records, sidecars are their columns, the rest is counted."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from made_images import ingested, made_image, made_tar
from tasks.ingest import webdataset
from tasks.store.image_bytes import read_images

RED, BLUE = made_image("red"), made_image("blue", "JPEG")


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def folder(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    return info


def test_members_are_records_and_can_be_read_again(tmp_path: Path) -> None:
    members = {"cats": folder("cats"), "cats/a.png": RED, "./cats/b.jpg": BLUE}
    tar = made_tar(tmp_path / "train.tar", members)
    found = ingested(tar, tmp_path / "work")
    assert found.keys == ["train.tar/cats/a.png", "train.tar/cats/b.jpg"]
    assert {record["uri"] for record in found.records} == {str(tar)}
    assert [record["row"] for record in found.records] == [0, 1]
    locators = [record["locator"] for record in found.records]
    assert list(read_images([str(tar)] * 2, locators)) == [RED, BLUE]


def test_sidecars_of_the_same_stem_feed_the_columns(tmp_path: Path) -> None:
    members = {
        "0001.cls": b"3\n",
        "0001.jpg": BLUE,
        "0001.json": json.dumps({"caption": "a dog", "score": 0.5}).encode(),
        "0001.txt": b"ein Hund\n",
        "0002.png": RED,
        "0002.json": b'{"caption": "a cat"}',
        "0003.jpg": BLUE,
    }
    tar = made_tar(tmp_path / "train.tar", members)
    asked = ["caption", "score", {"name": "txt", "as": "german"}, {"name": "cls", "type": "int32"}]

    found = ingested(tar, tmp_path / "work", columns=asked)

    names = ("key", "caption", "score", "german", "cls")
    assert [tuple(record[name] for name in names) for record in found.records] == [
        ("train.tar/0001.jpg", "a dog", 0.5, "ein Hund", 3),
        ("train.tar/0002.png", "a cat", None, None, None),
        ("train.tar/0003.jpg", None, None, None, None),
    ]
    assert found.rejects == []


def test_a_key_can_come_from_the_sidecar(tmp_path: Path) -> None:
    members: dict[str, bytes | tarfile.TarInfo] = {}
    for number, key in enumerate([17, "blue", None, [1], True]):
        members[f"{number}.png"] = RED
        members[f"{number}.json"] = json.dumps({"id": key}).encode()
    found = ingested(made_tar(tmp_path / "a.tar", members), tmp_path / "work", key="id")
    assert found.keys == ["17", "blue"]
    assert [reject["reason"] for reject in found.rejects] == ["missing-key", "bad-key", "bad-key"]


def test_two_images_of_one_stem_are_two_records(tmp_path: Path) -> None:
    members = {"1.jpg": BLUE, "1.mask.png": RED, "1.json": b'{"place": "Rome"}'}
    tar = made_tar(tmp_path / "a.tar", members)
    found = ingested(tar, tmp_path / "work", columns=["place"])
    assert [(record["key"], record["place"]) for record in found.records] == [
        ("a.tar/1.jpg", "Rome"),
        ("a.tar/1.mask.png", "Rome"),
    ]


def test_each_member_that_is_no_record_is_a_reject(tmp_path: Path) -> None:
    members: dict[str, bytes | tarfile.TarInfo] = {
        "../escape.png": RED,
        "/absolute.png": RED,
        "array.npy": b"\x93NUMPY",
        "empty.png": b"",
        "good.png": RED,
        "hard.png": link("hard.png", "good.png", tarfile.LNKTYPE),
        "lonely.json": b"{}",
        "pipe.png": link("pipe.png", "", tarfile.FIFOTYPE),
        "soft.png": link("soft.png", "/etc/passwd"),
    }
    found = ingested(made_tar(tmp_path / "a.tar", members), tmp_path / "work")
    assert found.keys == ["a.tar/good.png"]
    assert found.reasons == {
        "a.tar/../escape.png": "outside-root",
        "a.tar//absolute.png": "outside-root",
        "a.tar/array.npy": "unsupported-format",
        "a.tar/empty.png": "empty-image",
        "a.tar/hard.png": "outside-root",
        "a.tar/lonely.json": "unsupported-format",
        "a.tar/pipe.png": "unsupported-format",
        "a.tar/soft.png": "outside-root",
    }
    assert [reject["row"] for reject in found.rejects] == [0, 1, 2, 3, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("sidecar", "reason", "said"),
    [
        (b"{", "bad-value", "the sidecar .json cannot be parsed"),
        (b"[" * 100_000, "bad-value", "the sidecar .json cannot be parsed"),
        (b"[1, 2]", "bad-value", "the sidecar .json is [1, 2], expected an object"),
        (b'{"place": "\xff"}', "not-utf8", "the sidecar .json"),
        (b'{"place": "\\ud800"}', "lone-surrogate", "column 'place'"),
        (b'{"plaice": "x"}', "missing-column", "no column 'place' in the sidecars"),
    ],
)
def test_a_sidecar_at_fault(tmp_path: Path, sidecar: bytes, reason: str, said: str) -> None:
    members = {"1.png": RED, "1.json": sidecar}
    tar = made_tar(tmp_path / "a.tar", members)

    (reject,) = ingested(tar, tmp_path / "work", columns=["place"]).rejects
    assert (reject["key"], reject["reason"]) == ("a.tar/1.png", reason)
    assert said in reject["detail"]

    unasked = ingested(tar, tmp_path / "work2")
    assert unasked.keys == ["a.tar/1.png"], "a sidecar that nobody asks for does no harm"


def test_values_of_several_types_lose_only_the_records_that_do_not_fit(tmp_path: Path) -> None:
    members = {}
    for number, value in enumerate([1, "two", 3, 10**30]):
        members |= {f"{number}.png": RED, f"{number}.json": json.dumps({"n": value}).encode()}
    tar = made_tar(tmp_path / "a.tar", members)
    found = ingested(tar, tmp_path / "work", columns=[{"name": "n", "type": "int64"}])
    assert [record["n"] for record in found.records] == [1, 3]
    assert set(found.reasons.values()) == {"bad-value"}


def five(path: Path) -> tuple[Path, int]:
    """A tar of five samples, and how many bytes one member takes in it."""
    tar = made_tar(path, {f"{number}.png": RED for number in range(5)})
    return tar, 512 + -(-len(RED) // 512) * 512


@pytest.mark.parametrize("spare", [0, 100, 512, 512 + len(RED) // 2])
def test_of_a_tar_that_ends_early_what_came_before_stays(tmp_path: Path, spare: int) -> None:
    tar, member = five(tmp_path / "a.tar")
    tar.write_bytes(tar.read_bytes()[: 3 * member + spare])
    found = ingested(tar, tmp_path / "work")
    assert found.keys == ["a.tar/0.png", "a.tar/1.png", "a.tar/2.png"]
    (reject,) = found.rejects
    assert (reject["uri"], reject["reason"]) == (str(tar), "unreadable-file")


def test_a_broken_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    tar, member = five(tmp_path / "a.tar")
    data = bytearray(tar.read_bytes())
    data[2 * member : 2 * member + 20] = b"x" * 20
    tar.write_bytes(data)
    found = ingested(tar, tmp_path / "work")
    assert found.keys == ["a.tar/0.png", "a.tar/1.png"]
    (reject,) = found.rejects
    assert reject["reason"] == "unreadable-file"
    assert reject["detail"].startswith(f"at byte {2 * member} there is b'xxxxxxxxxxxx'")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no readable tar from byte 0 on: empty file"),
        (b"\x1f\x8b\x08 compressed" * 50, "no tar: the content is gzip, expected an uncompressed"),
        (b"no tar at all, " * 100, "no readable tar from byte 0 on: invalid header"),
    ],
)
def test_a_file_that_is_no_tar(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    (reject,) = ingested(tmp_path / "a.tar", tmp_path / "work").rejects
    assert (reject["key"], reject["reason"]) == (None, "unreadable-file")
    assert said in reject["detail"]


def header(size: int, kind: bytes) -> bytes:
    info = tarfile.TarInfo("1.png")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("size", "kind"),
    [
        pytest.param(-1536, tarfile.REGTYPE, id="leads back for ever"),
        pytest.param(1 << 40, tarfile.XHDTYPE, id="a header of a terabyte"),
        pytest.param(1 << 70, tarfile.REGTYPE, id="beyond every file"),
    ],
)
def test_hostile_headers_end_the_reading(tmp_path: Path, size: int, kind: bytes) -> None:
    tar, member = five(tmp_path / "a.tar")
    data = tar.read_bytes()
    tar.write_bytes(data[: 2 * member] + header(size, kind) + data[2 * member :])
    found = ingested(tar, tmp_path / "work")
    assert found.keys == ["a.tar/0.png", "a.tar/1.png"]
    assert "unreadable-file" in found.reasons.values()


def test_the_result_depends_neither_on_windows_nor_on_batches(tmp_path: Path, monkeypatch) -> None:
    members: dict[str, bytes | tarfile.TarInfo] = {}
    for number in range(40):
        members[f"{number}.png"] = made_image(f"hsl({number * 9}, 90%, 50%)")
        members[f"{number}.json"] = json.dumps({"n": number}).encode()
        members[f"{number}.bin"] = b"something else"
    tar = made_tar(tmp_path / "a.tar", members)
    once = ingested(tar, tmp_path / "work1", columns=["n"])
    monkeypatch.setattr(webdataset, "WINDOW_MEMBERS", 7)
    monkeypatch.setattr(webdataset, "BATCH_ROWS", 5)
    again = ingested(tar, tmp_path / "work2", columns=["n"])
    assert once == again
    assert [record["n"] for record in once.records] == list(range(40))
    assert len(once.rejects) == 40


def test_many_images_of_one_stem_are_not_held_together(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(webdataset, "SAMPLE_IMAGES", 3)
    tar = made_tar(tmp_path / "a.tar", {f"same.{number}.png": RED for number in range(10)})
    assert len(ingested(tar, tmp_path / "work").records) == 10


def test_names_are_nfc_and_utf8(tmp_path: Path) -> None:
    members = {"cafe\u0301.png": RED, "bad\udcff.png": RED}
    found = ingested(made_tar(tmp_path / "a.tar", members), tmp_path / "work")
    assert found.keys == ["a.tar/caf\xe9.png"]
    assert found.reasons == {"a.tar/bad\\xff.png": "not-utf8"}
