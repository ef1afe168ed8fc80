"""The demo's folder: sources, made once and then only changed, and the two specs.

DIR/python_docs.yaml  scenes.yaml      the specs
DIR/python_docs/docs/*.jsonl           docstrings          python_docs/held-back.jsonl
DIR/scenes/pictures/*                  pictures            scenes/truth.csv
DIR/lancedb  DIR/.vecmill              the tables; work in progress and reports
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows.demo import docs_folder, scene_folder
from flows.demo.change import Change, atomic_write
from flows.demo.docs_folder import DocsFolder, read_docs, write_docs
from flows.demo.python_docs import PACKAGES, RECORDS
from flows.demo.scene_folder import COUNT, Scenes, read_scenes, write_scenes
from flows.demo.specs import write_specs
from schemas.errors import UsageError
from schemas.spec import SpaceSpec

TURN = "changes-made"
"""A file with the number of changes made to the sources: the next change is another one."""


@dataclass(frozen=True)
class Size:
    """How much the demo makes; tests make less."""

    records: int = RECORDS
    pictures: int = COUNT
    packages: tuple[str, ...] = PACKAGES


@dataclass(frozen=True)
class Material:
    """What lies in the demo's folder."""

    folder: Path
    docs: DocsFolder
    scenes: Scenes
    docs_spec: SpaceSpec
    scenes_spec: SpaceSpec
    again: bool  # the sources were there already

    def change_docs(self) -> Change:
        """Change one percent of the docstrings."""
        return docs_folder.change_one_percent(self.docs.folder, self._next_turn())

    def change_scenes(self) -> Change:
        """Change one percent of the pictures."""
        return scene_folder.change_one_percent(self.scenes.folder, self._next_turn())

    def _next_turn(self) -> int:
        file = self.folder / TURN
        turn = int(file.read_text()) + 1 if file.exists() else 1
        atomic_write(file, f"{turn}\n".encode())
        return turn


def prepare(folder: Path, size: Size) -> Material:
    """Make the demo's sources in `folder`, or find those of an earlier run, and write the specs.

    Raises `UsageError` for a folder that holds other things, which the demo must not mix with.
    """
    folder = folder.absolute()
    docs, scenes = folder / "python_docs", folder / "scenes"
    _refuse_strangers(folder)
    folder.mkdir(parents=True, exist_ok=True)
    docs_spec, scenes_spec = write_specs(folder)
    again = (docs / docs_folder.HELD_BACK_FILE).exists() and (scenes / scene_folder.TRUTH).exists()
    if again:
        return Material(folder, read_docs(docs), read_scenes(scenes), docs_spec, scenes_spec, again)
    return Material(
        folder,
        write_docs(docs, size.records, size.packages),
        write_scenes(scenes, size.pictures),
        docs_spec,
        scenes_spec,
        again,
    )


def _refuse_strangers(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--dir {folder} is a file; expected a folder, or a name for a new one")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "python_docs.yaml").exists():
        raise UsageError(
            f"--dir {folder} holds files that are not the demo's; expected an empty folder, an "
            "earlier demo's, or a name for a new one"
        )
