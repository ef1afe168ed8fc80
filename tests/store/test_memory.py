"""Giving memory back changes nothing but how much of it is held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.store import memory
from tasks.store.memory import MAPPED_BYTES, USUAL_BYTES, frugal

REPOSITORY = Path(__file__).parents[2]


def test_the_limit_is_lowered_inside_alone(monkeypatch):
    seen: list[int] = []
    monkeypatch.setattr(memory, "_map_from", seen.append)
    with frugal(), frugal():
        seen.append(0)
    with pytest.raises(KeyError), frugal():
        raise KeyError
    assert seen == [MAPPED_BYTES, MAPPED_BYTES, 0, USUAL_BYTES, MAPPED_BYTES, USUAL_BYTES]


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    with frugal():
        pass


FREED = """
from pathlib import Path
import numpy as np
from tasks.store.memory import MAPPED_BYTES, frugal

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

with frugal():
    before = resident()
    blocks = [np.ones(MAPPED_BYTES, np.uint8) for _ in range(100)]
    assert resident() - before > 80 << 20
    del blocks
    assert resident() - before < 20 << 20
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_is_freed_goes_back():
    """In a process of its own, which nothing else uses meanwhile."""
    if memory._glibc() is None:
        pytest.skip("another C library")
    subprocess.run([sys.executable, "-c", FREED], cwd=REPOSITORY, check=True)
