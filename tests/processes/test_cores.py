"""Cores are counted once, for whoever starts threads or processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.processes import cores


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Eight cores, and a container whose limit is still to be written."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "CGROUP_QUOTA", tmp_path / "cpu.max")
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("told", "used"),
    [
        (None, 8),
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("50000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("of another kind", 8),
    ],
)
def test_a_containers_limit_counts(told: str | None, used: int, eight: Path) -> None:
    if told is not None:
        eight.write_text(told)
    assert cores.usable_cores() == used


@pytest.mark.parametrize(
    ("value", "used"), [("3", 3), ("3,2", 3), ("0", 8), ("", 8), ("all", 8), ("64", 8)]
)
def test_a_variable_lowers_it_where_it_is_asked_for(
    value: str, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert cores.usable_cores("OMP_NUM_THREADS") == used
    assert cores.usable_cores() == 8
