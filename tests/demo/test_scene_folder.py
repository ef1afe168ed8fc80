"""The folder of scenes: what was planted is what lies there, and it comes out the same again."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from flows.demo.change import Change
from flows.demo.scene_folder import (
    PictureTruth,
    Scenes,
    change_one_percent,
    read_scenes,
    write_scenes,
)
from tasks.store.pictures import PictureError, picture_facts


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    return write_scenes(tmp_path_factory.mktemp("demo") / "scenes", count=60, seed=3)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_file_has_its_line_of_truth(scenes: Scenes) -> None:
    assert {path.name for path in scenes.pictures.iterdir()} == {t.file for t in scenes.truth}
    counts = {k: len(scenes.planted(k)) for k in ("scene", "exact-copy", "resized-copy", "fault")}
    assert counts == {"scene": 60, "exact-copy": 15, "resized-copy": 15, "fault": 12}
    assert read_scenes(scenes.folder) == scenes


def test_the_same_seed_writes_the_same_files(scenes: Scenes, tmp_path: Path) -> None:
    again = write_scenes(tmp_path / "again", count=60, seed=3)
    assert contents(again.folder) == contents(scenes.folder)


def test_exact_copies_are_exact_and_resized_ones_smaller(scenes: Scenes) -> None:
    for copy in scenes.planted("exact-copy"):
        original = scenes.pictures / copy.copy_of
        assert (scenes.pictures / copy.file).read_bytes() == original.read_bytes()
    for copy in scenes.planted("resized-copy"):
        original = Image.open(scenes.pictures / copy.copy_of)
        assert Image.open(scenes.pictures / copy.file).width == original.width * 3 // 4


def test_each_fault_is_rejected_for_the_reason_that_was_planted(scenes: Scenes) -> None:
    for fault in scenes.planted("fault"):
        with pytest.raises(PictureError) as error:
            picture_facts((scenes.pictures / fault.file).read_bytes(), False, fault.file)
        assert error.value.reason == fault.reason, fault.file


def test_a_change_touches_one_percent_and_the_truth_follows(tmp_path: Path) -> None:
    before = write_scenes(tmp_path / "scenes", count=100, seed=3)
    files = contents(before.pictures)
    assert change_one_percent(before.folder) == Change(edited=1, added=1, removed=1)
    after, now = read_scenes(before.folder), contents(before.pictures)
    assert set(now) == {truth.file for truth in after.truth}
    assert len(set(now) - set(files)) == len(set(files) - set(now)) == 1
    assert sum(now[name] != files[name] for name in set(now) & set(files)) == 1
    assert len(after.planted("exact-copy")) == 25, "copies and their originals are left alone"
    changed = {t.file: t for t in after.truth}
    assert all(changed[t.file] == t for t in before.truth if t.planted != "scene")


def test_the_next_change_touches_other_files(tmp_path: Path) -> None:
    folder = write_scenes(tmp_path / "scenes", count=100, seed=3).folder
    change_one_percent(folder, turn=1)
    first = {t.file: t for t in read_scenes(folder).truth}
    change_one_percent(folder, turn=2)
    second = {t.file: t for t in read_scenes(folder).truth}
    assert len(set(second) - set(first)) == 1
    assert isinstance(next(iter(second.values())), PictureTruth)
