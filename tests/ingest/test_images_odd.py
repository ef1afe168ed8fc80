"""Real odd, broken and hostile files, read under a limit of 3 GB of address space."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from made_images import ingested_under_limit


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not enforce RLIMIT_AS")
def test_pillows_odd_files(shared: Path, tmp_path: Path) -> None:
    files, keys, reasons = ingested_under_limit(shared / "data/images/pillow_odd", tmp_path)

    members = [key for key in (*keys, *reasons) if key.startswith("hopper.tar/")]
    assert len(members) == 2
    assert len(keys) + len(reasons) == files - 1 + len(members)
    expected = {
        "broken.png": "corrupt-image",
        "broken_data_stream.png": "corrupt-image",
        "hopper.ico": "unsupported-format",
        "hopper.psd": "unsupported-format",
        "illu10_preview.eps": "unsupported-format",
        "jfif_unit_cm.jpg": "image-too-small",
        "libtiff_segfault.tif": "corrupt-image",
        "reallybig.bmp": "decompression-bomb",
        "shortfile.bmp": "truncated-image",
        "truncated_end_chunk.png": "truncated-image",
    }
    assert {key: reasons.get(key) for key in expected} == expected
    supported = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".tif", ".tiff", ".bmp", ".avif")
    refused = [key for key in reasons if key.endswith(supported)]
    assert len(refused) < 45, "most odd files of supported formats are pictures"


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not enforce RLIMIT_AS")
def test_the_copies_of_imagededup(shared: Path, tmp_path: Path) -> None:
    files, keys, reasons = ingested_under_limit(shared / "data/images/imagededup", tmp_path)
    assert len(keys) + len(reasons) == files
    names = {Path(key).name: reason for key, reason in reasons.items()}
    assert names == {
        "Iggy.1024.ppm": "unsupported-format",
        "baboon.pgm": "unsupported-format",
        "marbles.pbm": "unsupported-format",
        "ukbench09268_corrupt.jpg": "corrupt-image",
    }
    assert Counter(reasons.values()) == {"unsupported-format": 3, "corrupt-image": 2}
