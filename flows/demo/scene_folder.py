"""A folder of rendered scenes with planted copies and faults, and the truth about each file.

    seed → scenes → pictures/*.jpg, *.png + copies + faults → truth.csv (outside the pictures)

Every file follows from the seed and its number alone, so that a folder can be written again, or
changed later (`change_one_percent`), and always comes out the same.
"""

from __future__ import annotations

import csv
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from flows.demo.change import Change, atomic_write, shares_of_one_percent
from flows.demo.scenes import VOCABULARY, random_scene, render
from schemas.reasons import Reason

COUNT = 2_000
EXACT_COPIES = 40
RESIZED_COPIES = 40
SEED = 20262

PICTURES = "pictures"
TRUTH = "truth.csv"

_PNG_EVERY = 10  # one picture in ten is a PNG, the others JPEG
_CHANGED = 1_000_000  # numbers of scenes that later changes draw start here
_BOMB_EDGE = 60_000  # pixels a side that the bomb's header claims: 10 GB in RGB


@dataclass(frozen=True)
class PictureTruth:
    """What one file of the folder really is."""

    file: str
    planted: str  # scene | exact-copy | resized-copy | fault
    caption: str = ""
    copy_of: str = ""
    reason: str = ""  # faults: the reject reason that fits


@dataclass(frozen=True)
class Scenes:
    """A written folder: where its pictures are and what each of them is."""

    folder: Path
    truth: tuple[PictureTruth, ...]

    @property
    def pictures(self) -> Path:
        """The folder that holds the pictures and nothing else."""
        return self.folder / PICTURES

    def planted(self, kind: str) -> list[PictureTruth]:
        """The files of one kind: scene, exact-copy, resized-copy or fault."""
        return [truth for truth in self.truth if truth.planted == kind]

    def caption(self, file: str) -> str:
        """What that file shows; `""` for a fault or a file that is not there."""
        return next((truth.caption for truth in self.truth if truth.file == file), "")


def write_scenes(folder: Path, count: int = COUNT, seed: int = SEED) -> Scenes:
    """Render `count` scenes into `folder/pictures`, plant copies and faults, write the truth.

    Copies are `EXACT_COPIES` and `RESIZED_COPIES` of different scenes, at most a quarter of
    `count` each. The truth is written last: where it exists the folder is whole.
    """
    pictures = folder / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        truth = list(pool.map(lambda number: _write_scene(pictures, seed, number), range(count)))
    rng = np.random.default_rng([seed, count])
    chosen = rng.permutation(count)
    exact, resized = min(EXACT_COPIES, count // 4), min(RESIZED_COPIES, count // 4)
    truth += [_copy_exactly(pictures, truth[i]) for i in chosen[:exact]]
    truth += [_copy_resized(pictures, truth[i]) for i in chosen[exact : exact + resized]]
    for name, data, reason in _faults((pictures / truth[0].file).read_bytes()):
        atomic_write(pictures / name, data)
        truth.append(PictureTruth(name, "fault", reason=reason.value))
    return _write_truth(folder, truth)


def read_scenes(folder: Path) -> Scenes:
    """The folder as `write_scenes` or a change left it; `FileNotFoundError` where it is not."""
    with (folder / TRUTH).open(encoding="utf-8", newline="") as lines:
        return Scenes(folder, tuple(PictureTruth(**row) for row in csv.DictReader(lines)))


def change_one_percent(folder: Path, turn: int = 1) -> Change:
    """Draw some pictures anew, add some and delete some: one in a hundred scenes in all.

    `turn` numbers the changes; the same turn of the same folder always changes the same files.
    """
    scenes = read_scenes(folder)
    copied = {truth.copy_of for truth in scenes.truth}
    free = [t for t in scenes.truth if t.planted == "scene" and t.file not in copied]
    shares = shares_of_one_percent(len(scenes.planted("scene")))
    seed = np.random.default_rng([SEED, turn])
    chosen = [free[i] for i in seed.permutation(len(free))[: shares.edited + shares.removed]]
    first = _CHANGED * turn
    truth = {t.file: t for t in scenes.truth}
    for number, old in enumerate(chosen[: shares.edited]):
        truth[old.file] = _write_scene(scenes.pictures, SEED, first + number, old.file)
    for old in chosen[shares.edited :]:
        (scenes.pictures / old.file).unlink(missing_ok=True)  # a killed change went so far
        del truth[old.file]
    for number in range(shares.added):
        new = _write_scene(scenes.pictures, SEED, first + shares.edited + number)
        truth[new.file] = new
    _write_truth(folder, list(truth.values()))
    return shares


def _write_scene(pictures: Path, seed: int, number: int, file: str | None = None) -> PictureTruth:
    """Draw scene `number` into `file` (None: a name of its own)."""
    rng = np.random.default_rng([seed, number])
    scene = random_scene(rng)
    if file is None:
        file = f"scene-{number:04d}.{'png' if number % _PNG_EVERY == 0 else 'jpg'}"
    atomic_write(pictures / file, _encode(render(scene, rng), Path(file).suffix))
    return PictureTruth(file, "scene", scene.caption())


def _encode(picture: Image.Image, suffix: str) -> bytes:
    out = BytesIO()
    if suffix == ".png":
        picture.save(out, "PNG")
    else:
        picture.save(out, "JPEG", quality=90)
    return out.getvalue()


# Copies sort after their originals ("_" after "."), so that of two the original is the one kept.


def _copy_exactly(pictures: Path, original: PictureTruth) -> PictureTruth:
    name = f"{Path(original.file).stem}_copy{Path(original.file).suffix}"
    atomic_write(pictures / name, (pictures / original.file).read_bytes())
    return PictureTruth(name, "exact-copy", original.caption, original.file)


def _copy_resized(pictures: Path, original: PictureTruth) -> PictureTruth:
    name = f"{Path(original.file).stem}_resized.jpg"
    with Image.open(pictures / original.file) as picture:
        edge = picture.width * 3 // 4
        small = picture.convert("RGB").resize((edge, edge), Image.Resampling.LANCZOS)
    atomic_write(pictures / name, _encode(small, ".jpg"))
    return PictureTruth(name, "resized-copy", original.caption, original.file)


def _faults(whole_png: bytes) -> Iterator[tuple[str, bytes, Reason]]:
    """Twelve files that are no usable picture: name, bytes, and the reason that fits."""
    rng = np.random.default_rng(0)
    plain = Image.new("RGB", (64, 64), "teal")
    jpeg = _encode(Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8)), ".jpg")
    tiny = _encode(Image.new("RGB", (4, 4), "teal"), ".png")
    header = bytearray(_encode(plain, ".png"))
    header[16:24] = _BOMB_EDGE.to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")  # a valid header, that lies
    yield "fault-truncated-1.jpg", jpeg[: len(jpeg) // 2], Reason.TRUNCATED_IMAGE
    yield "fault-truncated-2.jpg", jpeg[: len(jpeg) // 5], Reason.TRUNCATED_IMAGE
    yield "fault-truncated-3.png", whole_png[: len(whole_png) // 2], Reason.TRUNCATED_IMAGE
    yield "fault-empty-1.jpg", b"", Reason.EMPTY_IMAGE
    yield "fault-empty-2.png", b"", Reason.EMPTY_IMAGE
    yield "fault-text-1.jpg", b"A note, renamed to look like a picture.\n", Reason.CORRUPT_IMAGE
    yield "fault-noise-1.png", rng.bytes(3_000), Reason.CORRUPT_IMAGE
    yield "fault-bomb-1.png", bytes(header), Reason.DECOMPRESSION_BOMB
    yield "fault-tiny-1.png", tiny, Reason.IMAGE_TOO_SMALL
    yield "fault-tiny-2.png", _encode(plain.resize((64, 3)), ".png"), Reason.IMAGE_TOO_SMALL
    yield "fault-page-1.jpg", b"<!DOCTYPE html><title>404</title>", Reason.UNSUPPORTED_FORMAT
    yield "fault-words-1.txt", " ".join(VOCABULARY).encode(), Reason.UNSUPPORTED_FORMAT


def _write_truth(folder: Path, truth: Sequence[PictureTruth]) -> Scenes:
    out = [",".join(field.name for field in fields(PictureTruth))]
    out += [",".join(asdict(row).values()) for row in truth]  # no value holds a comma or a quote
    atomic_write(folder / TRUTH, ("\n".join(out) + "\n").encode())
    return Scenes(folder, tuple(truth))
