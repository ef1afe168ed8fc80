"""What is shown of a stage: its speed from the first batch on, its padding, the time left."""

from __future__ import annotations

import io

import pytest

from flows import stage_rate as module
from flows.embedding_cost import account
from flows.progress import StageBars
from flows.runner import PlainRunner
from flows.stage_rate import StageRate, duration
from schemas.refs import RejectsRef, ShardResult


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock)
    return clock


def test_tokens_padding_and_the_time_left(clock):
    rate = StageRate(12_000)
    clock.now += 3
    rate.add(1_200, tokens=108_000, slots=110_000)
    assert rate.parts() == [
        *("1,200 of 12,000 rows", "36,000 tokens/s"),
        *("1.8 % padding", "27 s left"),
    ]
    assert rate.summary() == "1,200 rows in 3.0 s, 36,000 tokens/s, 1.8 % padding"


def test_loading_the_model_counts_for_no_rate(clock):
    rate = StageRate(300)
    clock.now += 40  # loading
    rate.add(0)
    clock.now += 2
    rate.add(100, tokens=9_000, slots=9_000)
    clock.now += 10  # a second worker's loading, beside the work of the first
    rate.add(0)
    assert rate.seconds == 12
    rate.add(100, tokens=9_000, slots=9_000)
    assert rate.speed == "1,500 tokens/s"
    assert rate.seconds_left == 6


def test_what_was_found_counts_as_done_and_for_no_rate(clock):
    rate = StageRate(1_000)
    clock.now += 1
    rate.add(800, found=True)
    assert (rate.speed, rate.seconds_left) == ("", None)
    clock.now += 4
    rate.add(100, tokens=400, slots=500)
    assert rate.parts() == ["900 of 1,000 rows", "100 tokens/s", "20.0 % padding", "4.0 s left"]


def test_rows_without_tokens_are_counted_as_rows(clock):
    rate = StageRate()
    clock.now += 2
    rate.add(50)
    assert rate.parts() == ["50 rows", "25 rows/s"]
    clock.now += 2
    rate.add(50, tokens=500, slots=500)  # texts after pictures: no speed in tokens would be true
    assert rate.speed == "25 rows/s"


def test_lines_and_bars_and_the_log_show_them(clock):
    from flows.prefect_runner import LogProgress

    out, bars, log = io.StringIO(), io.StringIO(), []
    written = LogProgress("embed", 100, log.append)
    with (
        StageBars("lines", out).stage("embed", 100) as lines,
        StageBars("bars", bars).stage("embed", 100) as bar,
    ):
        for progress in (lines, bar, written):
            progress.advance(0)
        for _ in range(2):
            clock.now += 20
            for progress in (lines, bar, written):
                progress.advance(50, tokens=9_000, slots=10_000)
    written.finish()
    assert out.getvalue().splitlines() == [
        "embed    50 of 100 rows · 450 tokens/s · 10.0 % padding · 20 s left",
        "embed    100 rows in 40 s, 450 tokens/s, 10.0 % padding",
    ]
    assert "40 s · 450 tokens/s · 10.0 % padding" in bars.getvalue()
    assert log == [
        "embed: 50 of 100 rows, 450 tokens/s, 10.0 % padding, 20 s left",
        "embed: 100 of 100 rows, 450 tokens/s, 10.0 % padding",
        "embed: 100 rows in 40 s, 450 tokens/s, 10.0 % padding",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.31, "0.3 s"),
        (59.7, "1 min 00 s"),
        (27, "27 s"),
        (185, "3 min 05 s"),
        (4320, "1 h 12 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def shard(**figures) -> ShardResult:
    return ShardResult("vectors", 10, RejectsRef(""), **figures)


def test_loading_is_start_up():
    seconds = {"start_up": 1.0, "embed": 30.0}
    cost = account(
        seconds,
        [
            shard(tokens=90_000, slots=100_000, load_seconds=10.0),
            shard(tokens=9_000, slots=10_000, load_seconds=9.0),  # another process, meanwhile
        ],
    )
    assert seconds == {"start_up": 11.0, "embed": 20.0}
    assert str(cost) == " (99,000 tokens, 4,950 tokens/s, 10.0 % padding)"


def test_nothing_is_said_of_a_moment():
    assert str(account({"embed": 0.2}, [shard(tokens=9, slots=9)])) == ""
    assert str(account({}, [])) == ""


class Heard(StageBars):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__("quiet")
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def test_a_build_says_that_it_loads_where_it_has_to(notes):
    first, again = Heard(), Heard()
    manifest = notes.build(PlainRunner(first)).manifest
    notes.build(PlainRunner(again))
    engine = f"{manifest.embedder.engine}, {manifest.embedder.precision}"
    assert f"loading {notes.model} ({engine}) …" in first.said
    assert not any("loading" in line for line in again.said)
