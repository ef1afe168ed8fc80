"""Photograph-like pictures, copies of them as people make them, and records of their files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageEnhance, ImageOps

from schemas.arrow import HASH, records_schema
from schemas.identity import digest_bytes, digest_json
from schemas.refs import RecordsPart, RejectsRef
from tasks.store.pictures import picture_facts
from tasks.store.workdir import Store

SIZE = (240, 160)


def scene(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A picture with large and small shapes, a different one for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 7, 3), np.uint8)
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8))
    return Image.blend(picture, fine.resize(size, Image.Resampling.BICUBIC), 0.15)


def jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    """The picture as a JPEG file."""
    out = BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def turned(picture: Image.Image) -> bytes:
    """A JPEG that lies on its side, with the EXIF tag that says how to turn it upright."""
    out, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(out, "JPEG", quality=90, exif=exif)
    return out.getvalue()


def _png(picture: Image.Image) -> bytes:
    out = BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "resized": lambda p: jpeg(p.resize((p.width // 2, p.height // 2))),
    "stretched": lambda p: jpeg(p.resize((p.width, p.height * 3 // 2))),
    "recompressed": lambda p: jpeg(p, 30),
    "another format": _png,
    "darker": lambda p: jpeg(ImageEnhance.Brightness(p).enhance(0.7)),
    "grey": lambda p: jpeg(ImageOps.grayscale(p)),
    "mirrored": lambda p: jpeg(ImageOps.mirror(p)),
    "cropped": lambda p: jpeg(p.crop((0, p.height // 40, p.width * 38 // 40, p.height))),
    "on its side": turned,
}
"""What people do with a picture that leaves it the same picture."""


def made_picture_records(
    store: Store,
    folder: Path,
    files: dict[str, bytes],
    *,
    source: str = "photos",
    thumbnails: bool = True,
    times: dict[str, datetime] | None = None,
) -> RecordsPart:
    """Write the files (key → bytes) and the records part that ingest would make of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, data in files.items():
        (folder / key).write_bytes(data)
    facts = {key: picture_facts(data, thumbnails) for key, data in files.items()}
    count = len(files)
    table = pa.table(
        {
            "row": range(count),
            "source": [source] * count,
            "key": list(files),
            "kind": ["image"] * count,
            "uri": [str(folder / key) for key in files],
            "locator": [None] * count,
            "text": [None] * count,
            "content_hash": pa.array([digest_bytes(data) for data in files.values()], HASH),
            "size": [len(data) for data in files.values()],
            "width": [each.width for each in facts.values()],
            "height": [each.height for each in facts.values()],
            "time": [(times or {}).get(key) for key in files],
            "thumbnail": [each.thumbnail for each in facts.values()],
        },
        schema=records_schema(),
    )
    named = [source, thumbnails, str(times), {k: digest_bytes(d).hex() for k, d in files.items()}]
    digest = digest_json(named)
    with store.create("records", digest) as path:
        pq.write_table(table, path)
    path = store.path("records", digest)
    return RecordsPart(digest, source, "image", str(path), count, RejectsRef(""))
