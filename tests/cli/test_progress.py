"""Progress goes to stderr: bars on a terminal, a few lines elsewhere, nothing when quiet."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import pytest

from flows import progress as module
from flows.progress import StageBars


def test_lines_are_few_and_the_last_one_sums_up(monkeypatch):
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    out = io.StringIO()
    with StageBars("lines", out).stage("embed", 100) as bar:
        for _ in range(10):
            bar.advance(10)
    lines = out.getvalue().splitlines()
    assert 2 <= len(lines) <= 5
    assert lines[0].startswith("embed    ")
    assert "of 100 rows" in lines[0]
    assert "left" in lines[0]
    assert lines[-1].startswith("embed    100 rows in ")


@pytest.mark.parametrize("mode", ["lines", "bars", "quiet"])
def test_threads_may_advance_one_stage(mode):
    out = io.StringIO()
    bars = StageBars(mode, out)
    with bars.stage("ingest") as bar, ThreadPoolExecutor(4) as pool:
        bar.set_total(400)
        list(pool.map(bar.advance, [1] * 400))
    if mode == "quiet":
        assert out.getvalue() == ""
    if mode == "bars":
        assert "ingest" in out.getvalue()
        assert "400/400" in out.getvalue()


def test_stages_may_overlap_and_come_again():
    out = io.StringIO()
    bars = StageBars("bars", out)
    with bars.stage("ingest", 2) as first, bars.stage("validate", 3) as second:
        first.advance(2)
        second.advance(3)
    with bars.stage("chunk", 1) as third:
        third.advance(1)
    assert "2/2" in out.getvalue()
    assert "3/3" in out.getvalue()
    assert "1/1" in out.getvalue()


def test_an_error_passes_through_and_ends_the_bars():
    bars = StageBars("bars", io.StringIO())

    def fail() -> None:
        with bars.stage("embed", 5) as bar:
            bar.advance(1)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    with bars.stage("embed", 5) as bar:
        bar.advance(5)


def test_without_a_terminal_there_are_lines():
    assert StageBars(stream=io.StringIO()).mode == "lines"
