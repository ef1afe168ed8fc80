"""How fast are pictures embedded, against the plain loops around open_clip and timm?

    500 JPEGs of 224 to 640 px ─┬─ plain: Pillow ─ the library's transform ─ 32 stacked ─ fp32 model
                                └─ vecmill: decoded and resized ahead ─ batches side by side, bf16

Run `uv run python benchmarks/images.py [--quick]`. open_clip ViT-B/32 and timm ResNet-50 have
random weights, saved as their libraries save them. The two take turns, a hundred pictures each;
models are loaded and have embedded once before. Both use a GPU where one is; ours has its decoder
processes only where a turn is long enough for them: `--pictures 8000 --turn 4000`. Pictures are
made from the photographs in
`$VECMILL_SHARED/data/images/caltech101` (or `../shared`), or from noise where there are none.
Prints a table, then one line of JSON; exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from PIL import Image, ImageFilter

from flows.terminal import print_table
from schemas.identity import digest_bytes
from schemas.spec import EmbedderSpec
from tasks.embed import decoders
from tasks.embed.picture_batches import picture_batches
from tasks.embedders.in_flight import in_flight
from tasks.embedders.load import load
from tasks.embedders.protocol import Embedder
from tasks.embedders.resolve import resolve
from tasks.embedders.torch_device import device

SHARED = Path(os.environ.get("VECMILL_SHARED", Path(__file__).parents[1].parent / "shared"))

PICTURES, QUICK_PICTURES = 500, 96
SHORTEST, LONGEST = 224, 640
QUALITY = 88

PLAIN_BATCH = 32
TURN = 100
"""Pictures that one of the two embeds before the other does: long enough to be measured."""

TARGETS = {"open_clip ViT-B-32": 3.0, "timm resnet50": 2.5}
"""At least so many times the plain loop, by the clock and by CPU time."""

Embed = Callable[[list[Path]], np.ndarray]
"""Image files to vectors `[n, d]`."""


@dataclass
class Cost:
    """What embedding the pictures took: seconds, by the clock and of the CPU."""

    wall: float = 0.0
    cpu: float = 0.0

    def measure(self, embed: Embed, files: list[Path]) -> np.ndarray:
        """Embed the files, and add what that took."""
        wall, cpu = time.perf_counter(), cpu_seconds()
        vectors = embed(files)
        self.wall += time.perf_counter() - wall
        self.cpu += cpu_seconds() - cpu
        return vectors


def cpu_seconds() -> float:
    """CPU seconds of this process and of those that decode for it."""
    children = (child.cpu_times() for child in psutil.Process().children())
    return sum(os.times()[:2]) + sum(times.user + times.system for times in children)


def write_pictures(folder: Path, count: int) -> list[Path]:
    """JPEGs with both sides between `SHORTEST` and `LONGEST`, the same every time."""
    folder.mkdir()
    photographs = sorted((SHARED / "data/images/caltech101").glob("*/*.jpg"))
    draw, files = np.random.default_rng(0), []
    for number in range(count):
        width, height = (int(side) for side in draw.integers(SHORTEST, LONGEST + 1, 2))
        if photographs:
            picture = Image.open(photographs[number * len(photographs) // count]).convert("RGB")
        else:
            noise = draw.integers(0, 256, (height // 2, width // 2, 3), np.uint8)
            picture = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(3))
        files.append(folder / f"{number:04}.jpg")
        resized = picture.resize((width, height), Image.Resampling.BICUBIC)
        resized.save(files[-1], "JPEG", quality=QUALITY)
    return files


def write_open_clip(folder: Path) -> Path:
    """ViT-B/32 with random weights; its text tower, which nobody asks here, has one layer."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config: dict[str, Any] = open_clip.get_model_config("ViT-B-32")
    config["text_cfg"]["layers"] = 1
    model = open_clip.CLIP(**config)
    folder.mkdir()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    )
    return folder


def write_timm(folder: Path) -> Path:
    """ResNet-50 with random weights."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = timm.create_model("resnet50")
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {key: model.default_cfg[key] for key in ("input_size", "interpolation", "crop_pct")}
    pretrained = {**config, "mean": model.default_cfg["mean"], "std": model.default_cfg["std"]}
    (folder / "config.json").write_text(
        json.dumps(
            {
                "architecture": "resnet50",
                "num_classes": 1000,
                "num_features": 2048,
                "pretrained_cfg": {**pretrained, "classifier": "fc", "num_classes": 1000},
            }
        )
    )
    return folder


def plain_open_clip(folder: Path) -> Embed:
    """The loop that open_clip's README shows, by the batch."""
    import open_clip

    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    return plain(model.eval().to(device()).encode_image, transform)


def plain_timm(folder: Path) -> Embed:
    """The loop that timm's documentation shows, by the batch."""
    import timm

    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    config = timm.data.resolve_model_data_config(model)
    return plain(model.to(device()), timm.data.create_transform(**config, is_training=False))


def plain(encode: Callable[[Any], Any], transform: Callable[[Image.Image], Any]) -> Embed:
    """Open, transform and stack each batch, then embed it."""
    import torch

    def embed(files: list[Path]) -> np.ndarray:
        vectors = []
        with torch.inference_mode():
            for start in range(0, len(files), PLAIN_BATCH):
                batch = [
                    transform(Image.open(file).convert("RGB"))
                    for file in files[start : start + PLAIN_BATCH]
                ]
                vectors.append(encode(torch.stack(batch).to(device())).cpu().numpy())
        return np.concatenate(vectors)

    return embed


def vecmill(embedder: Embedder) -> Embed:
    """As a shard is embedded: read, hash, decode ahead, several batches under way."""

    def embed(files: list[Path]) -> np.ndarray:
        hashes = [digest_bytes(file.read_bytes()) for file in files]
        places = pa.table(
            {
                "content_hash": pa.array(hashes, pa.binary(16)),
                "uri": [str(file) for file in files],
                "locator": pa.nulls(len(files), pa.string()),
            }
        )
        vectors = np.empty((len(files), embedder.dimensions), np.float32)
        batches = picture_batches(places, np.arange(len(files)), embedder, {})
        submitted = in_flight(
            lambda batch: embedder.submit_pixels(batch.pixels), batches, embedder.in_flight
        )
        for batch, pending in submitted:
            vectors[batch.rows] = pending()
        return vectors

    return embed


def start_decoders(embedder: Embedder, turn: int) -> None:
    """Beside a GPU, where a turn is long enough for processes: wait until they have started."""
    if embedder.decodes_apart and turn >= decoders.FEWEST and decoders.process_count() > 1:
        decoders.decoder_processes(decoders.process_count()).wait()


def compare(
    ours: Embed, theirs: Embed, files: list[Path], turn: int = TURN
) -> tuple[Cost, Cost, float]:
    """What each took, in turns; and the largest 1 − cos between their vectors."""
    ours(files[:PLAIN_BATCH])
    theirs(files[:PLAIN_BATCH])
    our_cost, their_cost, off = Cost(), Cost(), 0.0
    for start in range(0, len(files), turn):
        some = files[start : start + turn]
        a = our_cost.measure(ours, some).astype(np.float64)
        b = their_cost.measure(theirs, some).astype(np.float64)
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        off = max(off, float((1 - (a * b).sum(axis=1) / lengths).max()))
    return our_cost, their_cost, off


def main() -> int:
    """Both models, the table, and 1 when a target is missed."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--quick", action="store_true", help=f"{QUICK_PICTURES} pictures")
    asked.add_argument("--pictures", type=int, default=PICTURES)
    asked.add_argument("--turn", type=int, default=TURN, help="pictures that one embeds in a row")
    asked.add_argument("--engine", default="torch")
    asked.add_argument("--precision", default="bf16")
    options = asked.parse_args()
    logging.disable(logging.WARNING)  # open_clip warns that weights are random
    count = QUICK_PICTURES if options.quick else options.pictures
    with tempfile.TemporaryDirectory(prefix="vecmill-images-") as place:
        return measure(Path(place), count, options.turn, options.engine, options.precision)


def measure(work: Path, count: int, turn: int, engine: str, precision: str) -> int:
    """Embed `count` pictures by each model and loop."""
    files = write_pictures(work / "pictures", count)
    models = {
        "open_clip ViT-B-32": ("open-clip", write_open_clip(work / "clip"), plain_open_clip),
        "timm resnet50": ("timm", write_timm(work / "timm"), plain_timm),
    }
    rows, figures, missed = [], {}, False
    for name, (kind, folder, loop) in models.items():
        spec = EmbedderSpec.model_validate(
            {"kind": kind, "model": str(folder), "engine": engine, "precision": precision}
        )
        ref = replace(resolve(spec, {"image"}), exports=str(work / "engines"))
        embedder = load(ref)
        start_decoders(embedder, min(turn, count))
        ours, theirs, off = compare(vecmill(embedder), loop(folder), files, turn)
        wall, cpu = theirs.wall / ours.wall, theirs.cpu / ours.cpu
        missed |= min(wall, cpu) < TARGETS[name]
        costs = [theirs.wall, ours.wall, theirs.cpu, ours.cpu]
        per_picture = [f"{1000 * seconds / count:.2f}" for seconds in costs]
        verdict = "ok" if min(wall, cpu) >= TARGETS[name] else "MISSED"
        rows.append([name, *per_picture, f"{wall:.2f}", f"{cpu:.2f}", f"{TARGETS[name]}", verdict])
        figures[name] = {"wall": wall, "cpu": cpu, "off": off, "milliseconds": per_picture}
    print(f"{count} JPEGs; vecmill: {engine} {precision}; milliseconds a picture")
    heads = ["plain, clock", "vecmill, clock", "plain, CPU", "vecmill, CPU"]
    print_table(["model", *heads, "× clock", "× CPU", "at least", ""], rows)
    print(json.dumps({"pictures": count, "engine": engine, "precision": precision, **figures}))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
