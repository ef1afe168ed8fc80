"""A source that goes away in the middle of a build, and comes back as it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import lance
import numpy as np
import pytest
from PIL import Image

import flows.compose
import flows.demo
from made_images import made_image
from made_words import sentence
from tasks.embedders.batching import BatchingEmbedder, done
from tasks.embedders.protocol import Pending
from tasks.store.workdir import TEMPORARY
from tasks.table.releases import list_releases

FILES = 20
SCENE_CLIP = Path(flows.demo.__file__).parent / "scene_clip"


@pytest.fixture
def folder(notes) -> Path:
    """Twenty text files as the source; `notes.build()` reads them."""
    folder = notes.folder / "texts"
    folder.mkdir()
    for i in range(FILES):
        (folder / f"t{i:02}.txt").write_text(sentence(i, i + 40))
    notes.changes["sources"] = [{"name": "docs", "kind": "text", "path": "texts/"}]
    notes.changes["expectations"] = {"max_reject_share": 0.2}
    return folder


def after_the_listing(monkeypatch, happens) -> None:
    """Let something happen, once, when the sources are listed and before any is read."""
    import tasks.ingest.survey

    real = tasks.ingest.survey.survey

    def late(*arguments, **options):
        monkeypatch.setattr(tasks.ingest.survey, "survey", real)
        found = real(*arguments, **options)
        happens()
        return found

    monkeypatch.setattr(tasks.ingest.survey, "survey", late)


def before(monkeypatch, step: str, happens) -> None:
    """Let something happen, once, before that step of the composition."""
    real = getattr(flows.compose, step)

    def late(*arguments, **options):
        monkeypatch.setattr(flows.compose, step, real)
        happens()
        return real(*arguments, **options)

    monkeypatch.setattr(flows.compose, step, late)


def keys(space) -> set[str]:
    table = lance.dataset(space.ref.path, version="prod").to_table(columns=["key"])
    return set(table.column("key").to_pylist())


ALL = {f"t{i:02}.txt" for i in range(FILES)}


def test_a_file_that_goes_while_it_is_read_is_a_reject_until_it_is_back(
    notes, folder, monkeypatch, tmp_path
):
    away = tmp_path / "away"
    away.mkdir()
    after_the_listing(monkeypatch, lambda: shutil.move(folder / "t03.txt", away / "t03.txt"))
    counts = notes.build().manifest.counts
    assert (counts.records, counts.records_used, counts.records_rejected) == (20, 19, 1)
    assert keys(notes) == ALL - {"t03.txt"}
    answer = notes.command("rejects")
    assert "unreadable-file" in answer.out
    assert "No such file or directory" in answer.out
    shutil.move(away / "t03.txt", folder / "t03.txt")  # with the size and time that it had
    counts = notes.build().manifest.counts
    assert (counts.records_rejected, counts.new, counts.unchanged) == (0, 1, 19)
    assert keys(notes) == ALL
    assert not list(Path(notes.spec.workdir).rglob(f"{TEMPORARY}*"))
    assert notes.build().manifest.published is False


@pytest.mark.parametrize("stands", [True, False], ids=["a release stands", "nothing stands"])
def test_a_folder_that_goes_while_it_is_read_empties_nothing(
    notes, folder, monkeypatch, tmp_path, stands
):
    if stands:
        notes.build()
        (folder / "t00.txt").write_text(sentence(300))
    after_the_listing(monkeypatch, lambda: shutil.move(folder, tmp_path / "away"))
    answer = notes.command("build")
    assert answer.code == 3
    assert "max_reject_share:docs: " in answer.err
    assert "'t00.txt': unreadable-file (No such file or directory)" in answer.err
    assert [r.name for r in list_releases(notes.ref)] == (["v0001"] if stands else [])
    answer = notes.command("build")  # and it is still away
    assert answer.code == (3 if stands else 2)
    assert "source 'docs': cannot list" in answer.err
    if stands:
        assert keys(notes) == ALL
    shutil.move(tmp_path / "away", folder)
    outcome = notes.build()
    assert outcome.manifest.published
    assert outcome.manifest.counts.records_rejected == 0
    assert keys(notes) == ALL


class Colours(BatchingEmbedder):
    """A picture's mean colours, written over and over."""

    token_budget = 100
    image_batch = 4

    def prepare_image(self, picture: Image.Image) -> np.ndarray:
        return np.moveaxis(np.asarray(picture.resize((2, 2)), np.float32), -1, 0)

    def submit_pixels(self, pixels: np.ndarray) -> Pending:
        found = np.resize(pixels.mean(axis=(2, 3)) + 1, (self.dimensions, len(pixels))).T
        return done((found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32))


@pytest.fixture
def pictures(notes, monkeypatch) -> Path:
    """Twenty pictures as the source, embedded by their mean colours."""
    folder = notes.folder / "pictures"
    folder.mkdir()
    paint(folder, 0)
    monkeypatch.setattr("tasks.embed.embed_shard.load", Colours)
    notes.changes |= {
        "sources": [{"name": "pictures", "kind": "image", "path": "pictures/"}],
        "embedder": {
            "kind": "open-clip",
            "model": str(SCENE_CLIP),
            "engine": "torch",
            "precision": "fp32",
        },
        "expectations": {"max_reject_share": 0.2},
    }
    return folder


def paint(folder: Path, blue: int) -> None:
    for i in range(FILES):
        (folder / f"p{i:02}.png").write_bytes(
            made_image(f"#{9 * i:02x}{250 - 9 * i:02x}{blue:02x}")
        )


PICTURES = {f"p{i:02}.png" for i in range(FILES)}


def test_a_picture_that_goes_before_it_is_embedded_is_a_reject_until_it_is_back(
    notes, pictures, monkeypatch, tmp_path
):
    away = tmp_path / "p03.png"
    before(monkeypatch, "embed_rows", lambda: shutil.move(pictures / "p03.png", away))
    counts = notes.build().manifest.counts
    assert (counts.records_used, counts.items, counts.items_rejected, counts.rows) == (
        20,
        20,
        1,
        19,
    )
    assert keys(notes) == PICTURES - {"p03.png"}
    assert "source-changed" in notes.command("rejects").out
    shutil.move(away, pictures / "p03.png")
    counts = notes.build().manifest.counts
    assert (counts.items_rejected, counts.new, counts.unchanged, counts.embedded) == (0, 1, 19, 1)
    assert keys(notes) == PICTURES


@pytest.mark.parametrize("stands", [True, False], ids=["a release stands", "nothing stands"])
def test_a_folder_that_goes_before_it_is_embedded_empties_nothing(
    notes, pictures, monkeypatch, tmp_path, stands
):
    if stands:
        notes.build()
        paint(pictures, 200)
    before(monkeypatch, "embed_rows", lambda: shutil.move(pictures, tmp_path / "away"))
    outcome = notes.build(yes=True)
    assert outcome.exit_code == 3, outcome.message
    assert outcome.manifest.refused_by == ("max_reject_share:pictures:items",)
    assert "20 of 20 items of source 'pictures' could not be embedded" in outcome.message
    assert "source-changed" in outcome.message
    assert [r.name for r in list_releases(notes.ref)] == (["v0001"] if stands else [])
    shutil.move(tmp_path / "away", pictures)
    outcome = notes.build(yes=True)
    assert (outcome.manifest.published, outcome.manifest.counts.items_rejected) == (True, 0)
    assert keys(notes) == PICTURES
