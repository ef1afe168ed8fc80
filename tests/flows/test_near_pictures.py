"""Near-duplicate pictures in builds: marked wherever their bytes lie, while they can be seen."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_pictures import COPIES, jpeg, scene

import flows.demo
from flows.compose import build_space
from flows.forget import forget_records
from flows.progress import StageBars
from flows.runner import PlainRunner
from made_images import made_tar
from schemas.identity import digest_bytes
from schemas.load import parse_spec
from schemas.spec import BuildOverrides
from tasks.dedupe.pictures.picture_signatures import SIGNATURE_KEY
from tasks.erase.asked import Request
from tasks.store.vectors import release_vectors, vector_index
from tasks.store.workdir import Store

SCENE_CLIP = Path(flows.demo.__file__).parent / "scene_clip"


class Album:
    """A space of pictures in single files, in an archive and in a table; files may go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dedupe: dict[str, Any] = {"near": {}, "semantic": None}
        self.thumbnails = True
        for name in ("files", "tars", "tables"):
            (folder / name).mkdir()
        self.add("first.jpg", jpeg(scene(1)))
        self.add("second.jpg", jpeg(scene(2)))
        made_tar(folder / "tars" / "1.tar", {"mirror.jpg": COPIES["mirrored"](scene(1))})
        rows = {"id": ["small"], "bytes": [COPIES["resized"](scene(2))]}
        pq.write_table(pa.table(rows), folder / "tables" / "1.parquet")

    def add(self, name: str, data: bytes) -> None:
        (self.folder / "files" / name).write_bytes(data)

    @property
    def spec(self):
        image = {"kind": "image", "mode": "append"}
        data = {
            "space": "album",
            "uri": "./db",
            "workdir": "./work",
            "sources": [
                {**image, "name": "files", "path": "files"},
                {**image, "name": "tars", "path": "tars/*.tar"},
                {**image, "name": "tables", "path": "tables", "key": "id", "image": "bytes"},
            ],
            "embedder": {
                "kind": "open-clip",
                "model": str(SCENE_CLIP),
                "engine": "torch",
                "precision": "fp32",
            },
            "dedupe": self.dedupe,
            "publish": {"thumbnails": self.thumbnails},
        }
        return parse_spec(data, self.folder, "spec")

    def outcome(self, **overrides: Any):
        runner = PlainRunner(StageBars("quiet"))
        return build_space(self.spec, BuildOverrides(yes=True, **overrides), runner)

    def build(self):
        outcome = self.outcome()
        assert outcome.exit_code == 0, outcome.message
        assert outcome.manifest.counts.problems() == []
        return outcome.manifest

    def marks(self) -> dict[str, tuple[str, str]]:
        table = lance.dataset(f"{self.folder}/db/album.lance", version="prod").to_table()
        return {
            row["id"]: (row["duplicate_of"], row["duplicate_kind"])
            for row in table.to_pylist()
            if row["duplicate_of"] is not None
        }


@pytest.fixture
def album(tmp_path) -> Album:
    return Album(tmp_path)


NEAR = {
    "tars:1.tar/mirror.jpg": ("files:first.jpg", "near"),
    "tables:small": ("files:second.jpg", "near"),
}


def test_copies_are_marked_wherever_they_lie(album):
    manifest = album.build()
    assert album.marks() == NEAR
    assert manifest.counts.duplicates.near == 2
    assert album.build().published is False


def test_a_better_copy_takes_the_place_of_the_kept_one(album):
    album.build()
    album.add("large.jpg", jpeg(scene(1, (480, 320)), 98))
    manifest = album.build()
    assert album.marks() == NEAR | {
        "tars:1.tar/mirror.jpg": ("files:large.jpg", "near"),
        "files:first.jpg": ("files:large.jpg", "near"),
    }
    counts = manifest.counts
    assert (counts.new, counts.rejudged, counts.unchanged, counts.embedded) == (1, 2, 2, 1)


def test_an_exact_copy_of_a_marked_picture_is_marked_with_it(album):
    album.add("third.jpg", COPIES["resized"](scene(2)))  # the bytes of tables:small
    album.build()
    assert album.marks() == NEAR | {"files:third.jpg": ("files:second.jpg", "near")}


def test_pictures_whose_files_are_gone_are_compared_by_their_thumbnails(album):
    album.build()
    (album.folder / "files" / "second.jpg").unlink()
    shutil.rmtree(album.folder / "tables")
    (album.folder / "tables").mkdir()
    rows = {"id": ["other"], "bytes": [COPIES["grey"](scene(2))]}
    pq.write_table(pa.table(rows), album.folder / "tables" / "2.parquet")
    shutil.rmtree(album.folder / "work")
    release_vectors()
    manifest = album.build()
    # of these three the size of one is known: it stands first
    assert album.marks() == {
        "tars:1.tar/mirror.jpg": ("files:first.jpg", "near"),
        "tables:small": ("tables:other", "near"),
        "files:second.jpg": ("tables:other", "near"),
    }
    assert [audit.name for audit in manifest.audits if not audit.passed] == []


def test_pictures_that_can_be_seen_no_more_are_counted_in_a_warning(album):
    album.thumbnails = False
    album.build()
    assert album.marks() == NEAR
    (album.folder / "files" / "second.jpg").unlink()
    shutil.rmtree(album.folder / "work")
    release_vectors()
    manifest = album.build()
    assert album.marks() == {"tars:1.tar/mirror.jpg": ("files:first.jpg", "near")}
    [warning] = [audit for audit in manifest.audits if audit.name == "near-images"]
    assert (warning.value, warning.passed, warning.severity) == (1, False, "warn")
    assert "1 of the pictures were compared with no other" in warning.detail


def test_a_dry_run_compares_and_writes_nothing(album):
    album.build()
    before = sorted(album.folder.rglob("*"))
    album.add("large.jpg", jpeg(scene(1, (480, 320)), 98))
    outcome = album.outcome(dry_run=True)
    assert outcome.manifest.counts.rejudged == 2
    assert sorted(album.folder.rglob("*")) == sorted([*before, album.folder / "files/large.jpg"])


def test_what_was_forgotten_is_in_no_signature(album):
    album.build()
    work = album.folder / "work"
    assert len(vector_index(Store(str(work)), SIGNATURE_KEY)) == 4
    release_vectors()
    forgotten = forget_records(album.spec, Request(keys=("first.jpg",)), yes=True, who="ann")
    assert forgotten.exit_code == 0, forgotten.message
    erased = digest_bytes(jpeg(scene(1)))
    held = [path for path in work.rglob("*.parquet") if erased in path.read_bytes()]
    assert held == []
    assert len(vector_index(Store(str(work)), SIGNATURE_KEY)) == 3
    assert not list(work.glob("near-pictures/*"))
    album.build()
    assert album.marks() == {"tables:small": ("files:second.jpg", "near")}


def test_what_is_kept_by_size_is_judged_when_files_go_and_come(album):
    """A picture without its file has no size: it stands last, at once and not in a later build."""
    album.dedupe = {"near": None, "semantic": {"threshold": 0.9}, "keep": ["longest"]}
    small = COPIES["resized"](scene(1))
    album.add("small.jpg", small)
    album.build()
    first = album.marks()
    assert first["files:small.jpg"] == ("files:first.jpg", "semantic")
    kept = album.folder / "files" / "first.jpg"
    data = kept.read_bytes()
    kept.unlink()
    album.build()
    gone = album.marks()
    assert gone["files:first.jpg"][1] == "semantic"
    album.add("other.jpg", jpeg(scene(7)))
    album.build()
    assert {k: v for k, v in album.marks().items() if k != "files:other.jpg"} == gone
    (album.folder / "files" / "other.jpg").unlink()
    kept.write_bytes(data)
    album.build()
    assert album.marks()["files:small.jpg"] == ("files:first.jpg", "semantic")
