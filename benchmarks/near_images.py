"""Are copies of pictures found, nothing else, and at what cost? Beside imagededup's PHash.

    1,530 photographs ─ six edits of each ─> 10,710 files ─┬─ vecmill: signatures, marks
                                                          └─ imagededup PHash: encode, find

Run `uv run --with imagededup python benchmarks/near_images.py [--quick]`; without imagededup its
lines are missing. Recall is the share of (photograph, edited copy) that are taken for one picture,
false matches are pairs of different photographs, edited or not, that are, less those that were
looked at and are one picture (`ONE_PICTURE`). The two take turns, a tenth of the files each. The
photographs are `$VECMILL_SHARED/data/images/caltech101` (or `../shared`). Prints tables, what is
found and missed of imagededup's own test pictures, and one line of JSON; exit code 1 when a target
is missed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageEnhance, ImageOps

from flows.terminal import print_table
from schemas.arrow import HASH
from schemas.identity import digest_bytes
from schemas.spec import DedupeSpec, NearSpec
from tasks.dedupe.pictures.near_images import near_pictures
from tasks.dedupe.pictures.phash import LEVEL_BYTES, MIRROR, hashes_of, signatures
from tasks.dedupe.pictures.picture_signatures import keep_signatures, sign_pictures
from tasks.dedupe.pictures.same_picture import (
    BITS_APART,
    CORRELATION,
    orientations,
    scratch,
    similarity,
)
from tasks.store.pictures import PictureError, picture_facts
from tasks.store.vectors import release_vectors
from tasks.store.workdir import Store

SHARED = Path(os.environ.get("VECMILL_SHARED", Path(__file__).parents[1].parent / "shared"))

QUICK_EVERY = 10
"""Of the photographs that `--quick` takes one."""

SEED = 20_261_120
RECALL, FALSE = 0.95, 1e-5
THEIR_BITS = 10
"""imagededup's own default."""

TURNS = 10
NEW_SHARE = 0.01
MADE_UP, MADE_UP_AT_ONCE = 100_000, 10_000
"""Signatures of no picture, to see what comparing many costs; and how many are made at a time."""

NEAR = DedupeSpec(near=NearSpec())

ONE_PICTURE = {
    "anchor": [(11, 15)],  # frames of one animation
    "beaver": [(4, 22)],
    "brontosaurus": [(9, 13)],
    "gerenuk": [(4, 25)],
    "grand_piano": [(6, 14)],
    "inline_skate": [(27, 30)],
    "kangaroo": [(15, 25)],
    "llama": [(1, 10)],
    "lotus": [(6, 15)],
    "mayfly": [(3, 14)],
    "metronome": [(5, 6, 10, 11), (2, 3, 4)],  # frames of two drawings: the pendulum swings
    "stop_sign": [(1, 5)],
    "trilobite": [(11, 22)],
    "yin_yang": [(2, 14)],
}
"""Class → photographs of Caltech-101 that were looked at side by side and are one picture, scaled,
recoloured, cropped or retouched."""


def jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    """The picture as a JPEG."""
    out = BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def cropped(picture: Image.Image, draw: np.ndarray) -> Image.Image:
    """Without 5 % of its width and of its height; where these go is drawn."""
    width, height = picture.size
    across, down = round(width * 0.05), round(height * 0.05)
    left, top = round(draw[0] * across), round(draw[1] * down)
    return picture.crop((left, top, left + width - across, top + height - down))


EDITS: dict[str, Callable[[Image.Image, np.ndarray], bytes]] = {
    "resize": lambda p, _: jpeg(p.resize((p.width // 2, p.height // 2), Image.Resampling.BICUBIC)),
    "recompress": lambda p, _: jpeg(p, 30),
    "brightness": lambda p, u: jpeg(ImageEnhance.Brightness(p).enhance(0.7 if u[0] < 0.5 else 1.3)),
    "grey": lambda p, _: jpeg(ImageOps.grayscale(p)),
    "mirror": lambda p, _: jpeg(ImageOps.mirror(p)),
    "crop": lambda p, u: jpeg(cropped(p, u)),
}


@dataclass(frozen=True)
class Corpus:
    """The files: `photograph` (int64 `[n]`) numbers whose copy each is, `edit` `[n]` says which: 0
    for the photograph itself, else a place in `EDITS` from 1."""

    files: list[Path]
    names: list[str]  # of the photographs: class/number
    photograph: np.ndarray
    edit: np.ndarray


def write_corpus(folder: Path, every: int) -> Corpus:
    """The photographs and their edited copies, in a drawn order."""
    photographs = sorted((SHARED / "data/images/caltech101").glob("*/*.jpg"))[::every]
    if not photographs:
        raise SystemExit(f"no photographs in {SHARED / 'data/images/caltech101'}")
    rng = np.random.default_rng(SEED)
    written: list[tuple[Path, int, int]] = []
    for number, source in enumerate(photographs):
        draw = rng.random(2)
        picture = Image.open(source).convert("RGB")
        for edit, data in enumerate(
            [source.read_bytes(), *(make(picture, draw) for make in EDITS.values())]
        ):
            path = folder / f"{number:05}-{edit}.jpg"
            path.write_bytes(data)
            written.append((path, number, edit))
    order = rng.permutation(len(written))
    files, numbers, edits = zip(*(written[at] for at in order), strict=True)
    names = [f"{path.parent.name}/{int(path.stem.split('_')[1])}" for path in photographs]
    return Corpus(list(files), names, np.array(numbers), np.array(edits))


def one_picture(names: list[str]) -> set[tuple[int, int]]:
    """The pairs of `ONE_PICTURE` as numbers of photographs."""
    place = {name: number for number, name in enumerate(names)}
    found = set()
    for folder, groups in ONE_PICTURE.items():
        for group in groups:
            known = [place.get(f"{folder}/{number}") for number in group]
            found |= {pair for pair in combinations(known, 2) if None not in pair}
    return found  # type: ignore[return-value]


def write_records(files: list[Path], path: Path, thumbnails: bool) -> pl.DataFrame:
    """What ingest keeps of the files, as `near_pictures` takes it."""
    contents = [file.read_bytes() for file in files]
    small = [picture_facts(data, thumbnails).thumbnail for data in contents]
    hashes = pa.array([digest_bytes(data) for data in contents], HASH)
    uris = [str(file) for file in files]
    count = len(files)
    locators = pa.nulls(count, pa.string())
    columns = {"content_hash": hashes, "uri": uris, "locator": locators}
    pq.write_table(
        pa.table({**columns, "thumbnail": pa.array(small, pa.binary())}), path, row_group_size=1024
    )
    return pl.DataFrame(
        {
            "id": [f"files:{file.name}" for file in files],
            "source": ["files"] * count,
            "key": [file.name for file in files],
            "content_hash": pl.Series(hashes.cast(pa.binary())),
            "size": [len(data) for data in contents],
            "part": [str(path)] * count,
            "row": range(count),
        }
    ).with_columns(time=pl.lit(None, pl.Datetime("us", "UTC")))


def cpu_seconds() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    return sum(os.times()[:4])


@dataclass
class Cost:
    """CPU seconds by what was done."""

    seconds: dict[str, float] = field(default_factory=dict)

    def measure(self, what: str, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call it, and add what that took."""
        begin = cpu_seconds()
        result = call(*arguments)
        self.seconds[what] = self.seconds.get(what, 0.0) + cpu_seconds() - begin
        return result


@dataclass(frozen=True)
class Verdict:
    """Recall by edit; of the pairs of different photographs, those that are taken for one."""

    recall: dict[str, float]
    pairs: int
    taken: set[tuple[int, int]]  # pairs of photographs
    matches: int  # pairs of files
    judged: int  # of those: of one picture in truth

    @property
    def mean_recall(self) -> float:
        return float(np.mean(list(self.recall.values())))

    @property
    def false_rate(self) -> float:
        return (self.matches - self.judged) / self.pairs


def verdict(corpus: Corpus, near: Callable[[int, np.ndarray], np.ndarray]) -> Verdict:
    """Judge a comparison: `near(i, others)` tells which of other files are one picture with i."""
    original = np.flatnonzero(corpus.edit == 0)[np.argsort(corpus.photograph[corpus.edit == 0])]
    recall = {}
    for edit, name in enumerate(EDITS, 1):
        copies = np.flatnonzero(corpus.edit == edit)
        hits = [near(int(original[corpus.photograph[at]]), np.array([at]))[0] for at in copies]
        recall[name] = float(np.mean(hits))
    known, taken, matches, judged, pairs = one_picture(corpus.names), set(), 0, 0, 0
    for at in range(len(corpus.files)):
        others = np.arange(at + 1, len(corpus.files))
        others = others[corpus.photograph[others] != corpus.photograph[at]]
        pairs += len(others)
        for other in others[near(at, others)]:
            one, two = sorted((int(corpus.photograph[at]), int(corpus.photograph[other])))
            matches += 1
            judged += (one, two) in known
            taken.add((one, two))
    return Verdict(recall, pairs, taken, matches, judged)


def ours(signed: np.ndarray) -> Callable[[int, np.ndarray], np.ndarray]:
    """The comparison that marks are made by."""
    hashes, windows = hashes_of(signed), scratch()

    def near(one: int, others: np.ndarray) -> np.ndarray:
        apart = hashes[one, 0] ^ hashes[others, 0]
        mirrored = apart ^ np.uint64(MIRROR)
        found = np.minimum(np.bitwise_count(apart), np.bitwise_count(mirrored)) <= BITS_APART
        for at in np.flatnonzero(found):
            other = others[at]
            which = orientations(hashes[one, 0], hashes[other, 0], BITS_APART)
            pair = signed[one], signed[other], hashes[one], hashes[other]
            found[at] = similarity(*pair, which, windows) >= CORRELATION
        return found

    return near


def theirs(encoded: dict[str, str], corpus: Corpus) -> Callable[[int, np.ndarray], np.ndarray]:
    """imagededup's comparison: the distance of the hashes."""
    hashes = np.array([int(encoded[file.name], 16) for file in corpus.files], np.uint64)
    return lambda one, others: np.bitwise_count(hashes[one] ^ hashes[others]) <= THEIR_BITS


def sign(records: pl.DataFrame, store: Store) -> np.ndarray:
    """Our signatures of the records' pictures."""
    pictures = records.select("content_hash", "part", "row").unique("content_hash")
    sign_pictures(pictures, store)
    return sign_pictures(records.select("content_hash", "part", "row"), store).values


def load_peer() -> Any:
    """imagededup's perceptual hash, or None where it is not installed."""
    try:
        from imagededup.methods import PHash
    except ImportError:
        return None
    logging.disable(logging.WARNING)
    return PHash(verbose=False)


def measure(work: Path, every: int) -> int:
    """Everything, the tables, and 1 when a target is missed."""
    (work / "files").mkdir()
    corpus = write_corpus(work / "files", every)
    count = len(corpus.files)
    with_them = write_records(corpus.files, work / "with.parquet", True)
    without = write_records(corpus.files, work / "without.parquet", False)
    warm(work, with_them.head(20))
    peer, cost, encoded = load_peer(), Cost(), {}
    stores = {name: Store(str(work / name)) for name in ("thumbnails", "files-read")}
    for turn in np.array_split(np.arange(count), TURNS):
        for name, records in zip(stores, (with_them, without), strict=True):
            cost.measure(f"sign, {name}", sign, records[turn], stores[name])
        if peer is not None:
            for at in turn:
                file = corpus.files[at]
                encoded[file.name] = cost.measure("imagededup: encode", peer.encode_image, file)
    marked = cost.measure("mark", near_pictures, with_them, NEAR, stores["thumbnails"]).marks
    if peer is not None:
        cost.measure("imagededup: find", find_theirs, peer, encoded)
    added = measure_added(work, with_them)
    many = measure_made_up(work)
    judged = verdict(corpus, ours(sign(with_them, stores["thumbnails"])))
    rows = [row("vecmill", judged)]
    figures: dict[str, Any] = {"files": count, "vecmill": figures_of(judged)}
    if peer is not None:
        other = verdict(corpus, theirs(encoded, corpus))
        rows.append(row("imagededup PHash", other))
        figures["imagededup"] = figures_of(other)
    print(f"{count:,} files; {judged.pairs:,} pairs of files of different photographs")
    print_table(["", *EDITS, "mean recall", "matches", "one picture", "false rate"], rows)
    print("\nCPU milliseconds a picture")
    milliseconds = {what: 1000 * seconds / count for what, seconds in cost.seconds.items()}
    print_table(["", "ms"], [[what, f"{ms:.3f}"] for what, ms in milliseconds.items()])
    print(f"\nadding {NEW_SHARE:.0%} costs {added:.1%} of signing and marking all")
    few = f"with {1 - NEW_SHARE:.0%} of them compared before {many['added']:.1f}"
    print(f"comparing {MADE_UP:,} made-up signatures: {many['all']:.1f} CPU seconds, {few}")
    strangers = sorted(judged.taken - one_picture(corpus.names))
    print("different photographs taken for one picture:", said(strangers, corpus.names))
    figures |= {
        "milliseconds": milliseconds,
        "added": added,
        "made_up": many,
        "marked": marked.height,
    }
    list_peer_pictures(work)
    met = judged.mean_recall >= RECALL and judged.false_rate <= FALSE
    print(json.dumps(figures | {"met": met}))
    return int(not met)


def warm(work: Path, records: pl.DataFrame) -> None:
    """Compile and import what is used, which counts for nobody."""
    near_pictures(records, NEAR, Store(str(work / "warm")))
    release_vectors()


def find_theirs(peer: Any, encoded: dict[str, str]) -> Any:
    """imagededup's own search, as it is by default, in this process."""
    return peer.find_duplicates(
        encoding_map=encoded, max_distance_threshold=THEIR_BITS, num_dist_workers=0
    )


def measure_added(work: Path, records: pl.DataFrame) -> float:
    """What the last of the pictures cost where the others are known, as a share of all of them."""
    few = max(1, round(records.height * NEW_SHARE))
    cost, store = Cost(), Store(str(work / "added"))
    near_pictures(records.head(records.height - few), NEAR, store)
    release_vectors()
    cost.measure("added", near_pictures, records, NEAR, store)
    release_vectors()
    cost.measure("all", near_pictures, records, NEAR, Store(str(work / "all")))
    return cost.seconds["added"] / cost.seconds["all"]


def measure_made_up(work: Path) -> dict[str, float]:
    """CPU seconds of comparing pictures that are signed: all, and where most were compared."""
    rng = np.random.default_rng(SEED)
    contents = [rng.bytes(16) for _ in range(MADE_UP)]
    stores = {what: Store(str(work / f"made-up-{what}")) for what in ("added", "all")}
    for begin in range(0, MADE_UP, MADE_UP_AT_ONCE):
        signed = signatures(rng.integers(0, 256, (MADE_UP_AT_ONCE, LEVEL_BYTES), np.uint8))
        for store in stores.values():
            keep_signatures(contents[begin : begin + MADE_UP_AT_ONCE], signed, store)
    names = pl.Series([f"{number:06}.jpg" for number in range(MADE_UP)])
    records = pl.DataFrame({"content_hash": contents, "key": names}).with_columns(
        id="files:" + pl.col("key"),
        source=pl.lit("files"),
        size=pl.lit(1),
        part=pl.lit(""),
        row=pl.int_range(pl.len()),
        time=pl.lit(None, pl.Datetime("us", "UTC")),
    )
    before = records.filter(pl.int_range(pl.len()) % round(1 / NEW_SHARE) != 0)
    near_pictures(before, NEAR, stores["added"])
    cost = Cost()
    for what, store in stores.items():
        release_vectors()
        cost.measure(what, near_pictures, records, NEAR, store)
    return cost.seconds


def row(name: str, judged: Verdict) -> list[str]:
    """A line of the table."""
    recall = [f"{value:.3f}" for value in judged.recall.values()]
    counts = [f"{judged.mean_recall:.3f}", f"{judged.matches:,}", f"{judged.judged:,}"]
    return [name, *recall, *counts, f"{judged.false_rate:.1e}"]


def figures_of(judged: Verdict) -> dict[str, Any]:
    """For the line of JSON."""
    false = {"matches": judged.matches, "one_picture": judged.judged, "rate": judged.false_rate}
    return {"recall": judged.recall, "mean_recall": judged.mean_recall, "false": false}


def said(pairs: list[tuple[int, int]], names: list[str]) -> str:
    """The pairs of photographs by name."""
    return ", ".join(f"{names[one]} = {names[two]}" for one, two in pairs) or "none"


def list_peer_pictures(work: Path) -> None:
    """What is found and missed of imagededup's own test pictures."""
    folder = SHARED / "data/images/imagededup"
    files, unread = [], []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            picture_facts(file.read_bytes(), False, file.name)
            files.append(file)
        except PictureError as error:
            unread.append(f"{file.relative_to(folder)} ({error.reason})")
    records = write_records(files, work / "peer.parquet", True)
    keys = [str(file.relative_to(folder)) for file in files]
    records = records.with_columns(key=pl.Series(keys), id=pl.Series(keys))
    marks = near_pictures(records, NEAR, Store(str(work / "peer"))).marks
    found = dict(marks.select("key", "kept_key").rows())
    print("\nimagededup's pictures: one line for each picture that is kept, with its copies")
    for key in (key for key in keys if key not in found):
        copies = [
            f"{copy} ({score:.3f})"
            for copy, kept, score in marks.select("key", "kept_key", "score").rows()
            if kept == key
        ]
        print(f"  {key}: {', '.join(copies) or 'no copy'}")
    print(f"  no pictures that vecmill reads: {', '.join(unread)}\n")


def main() -> int:
    """Parse the command line and measure in a temporary folder."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument(
        "--quick", action="store_true", help=f"every {QUICK_EVERY}th photograph, not judged"
    )
    options = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="vecmill-near-images-") as place:
        missed = measure(Path(place), QUICK_EVERY if options.quick else 1)
    return 0 if options.quick else missed


if __name__ == "__main__":
    sys.exit(main())
