"""Pictures inside the page: JPEGs made small and written into the HTML as data URIs."""

from __future__ import annotations

import base64
import io

SIDE = 64
"""Longest side of a picture in the map, px: 3,000 of them are about 4 MB of page."""

QUALITY = 70
"""JPEG quality at that size; below it faces and letters fall apart."""

JPEG = b"\xff\xd8"


def data_uri(jpeg: bytes) -> str:
    """A JPEG as a `data:` URI."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def shrink(jpeg: bytes | None, side: int = SIDE) -> bytes | None:
    """The thumbnail at most `side` px wide and high; None for null and for what is no JPEG.

    Thumbnails are written by vecmill as JPEG of at most 128 px. A table that a stranger wrote to
    may hold anything, so other bytes are left out of the page.
    """
    if not jpeg or not jpeg.startswith(JPEG):
        return None
    from PIL import Image

    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            image.draft("RGB", (side, side))
            image.thumbnail((side, side))
            out = io.BytesIO()
            image.convert("RGB").save(out, "JPEG", quality=QUALITY, optimize=True)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None  # only the page's decoration is lost; the row stands in the table
    return out.getvalue()
