"""The token budget: measured once it is worth it, kept by device, lowered when memory is short."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from schemas.refs import EmbedderRef
from tasks.embedders import budget
from tasks.embedders.budget import MEASURE_AFTER, TokenBudget, fastest


@pytest.fixture
def ref(tmp_path: Path) -> EmbedderRef:
    return EmbedderRef(
        kind="sentence-transformers",
        model="m",
        folder="m",
        fingerprint="f1",
        dimensions=4,
        engine="torch",
        precision="bf16",
        normalize=True,
        kinds=frozenset({"text"}),
        window=8,
        tokenizer=None,
        tokenizer_digest=None,
        prompt="",
        query_prompt="",
        truncate=None,
        exports=str(tmp_path / "engines"),
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that a trial moves on: `rates` are tokens a second by budget."""
    made = SimpleNamespace(now=0.0, rates={}, tried=[])
    monkeypatch.setattr(budget, "perf_counter", lambda: made.now)

    def trial(tokens: int) -> int:
        made.tried.append(tokens)
        made.now += tokens / made.rates[tokens] if made.rates[tokens] else 1.0
        return tokens if made.rates[tokens] else 0  # 0: it did not fit into memory

    made.trial = trial
    return made


def files(ref: EmbedderRef) -> dict[str, object]:
    return {
        path.relative_to(ref.exports).as_posix(): json.loads(path.read_text())
        for path in sorted(Path(ref.exports).rglob("*.*"))
    }


RATES = [
    ({512: 9e4, 1024: 1e5, 2048: 8e4}, 1024),
    ({512: 1e5, 1024: 1e5, 2048: 1.01e5}, 512),  # no faster: the smaller one
    ({512: 8e4, 1024: 9e4, 2048: 1e5}, 2048),
    ({512: 8e4, 1024: 9e4, 2048: 0.0}, 1024),  # it does not fit
    ({512: 1e3, 1024: 2e3, 2048: 4e3}, None),  # half a second a batch: it makes no difference
]


@pytest.mark.parametrize(
    ("rates", "best"), RATES, ids=["middle", "all-alike", "largest", "too-large", "slow"]
)
def test_the_smallest_of_the_fastest_is_chosen(
    rates: dict[int, float], best: int | None, clock: SimpleNamespace
) -> None:
    clock.rates = rates
    assert fastest(clock.trial, list(rates)) == best


def test_a_small_job_measures_nothing_and_keeps_nothing(
    ref: EmbedderRef, clock: SimpleNamespace
) -> None:
    tokens = TokenBudget(ref, "cpu-AVX512-2", 1024, (512, 1024))
    tokens.count(MEASURE_AFTER - 1)
    tokens.measure(clock.trial)

    assert (tokens.tokens, clock.tried, files(ref)) == (1024, [], {})


def test_a_large_job_measures_once_and_the_next_process_reads_it(
    ref: EmbedderRef, clock: SimpleNamespace
) -> None:
    clock.rates = {512: 1e5, 1024: 1.5e5, 2048: 9e4}
    tokens = TokenBudget(ref, "cpu-AVX512-2", 512, (512, 1024, 2048))
    for _ in range(2):
        tokens.count(MEASURE_AFTER)
        tokens.measure(clock.trial)

    assert clock.tried.count(2048) == budget.REPEATS
    assert files(ref) == {"f1/budget-torch-bf16-cpu-avx512-2.json": {"tokens": 1024}}
    again = TokenBudget(ref, "cpu-AVX512-2", 512, (512, 1024, 2048))
    again.count(MEASURE_AFTER)
    assert (again.tokens, again.due) == (1024, False)
    elsewhere = TokenBudget(ref, "NVIDIA H200", 512, (512, 1024))
    elsewhere.count(MEASURE_AFTER)
    assert (elsewhere.tokens, elsewhere.due) == (512, True)


def test_nothing_is_measured_where_nothing_can_be_kept(ref: EmbedderRef) -> None:
    tokens = TokenBudget(replace(ref, exports=""), "cpu", 512, (512, 1024))
    tokens.count(MEASURE_AFTER)
    tokens.lower(512)

    assert not tokens.due
    assert tokens.tokens == 256
    assert not Path(ref.exports).exists()


def test_a_budget_that_ran_out_of_memory_is_lowered_for_all(ref: EmbedderRef) -> None:
    tokens = TokenBudget(ref, "cuda", 32_768, (8_192, 32_768))
    tokens.count(MEASURE_AFTER)
    tokens.lower(30_000)
    tokens.lower(90_000)  # of a batch that was cut before the first one failed

    assert (tokens.tokens, tokens.due) == (15_000, False)
    assert TokenBudget(ref, "cuda", 32_768, (8_192, 32_768)).tokens == 15_000


@pytest.mark.parametrize("content", ["", "[]", '{"tokens": "many"}', '{"tokens": 0}'])
def test_a_file_that_says_nothing_is_measured_again(ref: EmbedderRef, content: str) -> None:
    folder = Path(ref.exports) / ref.fingerprint
    folder.mkdir(parents=True)
    (folder / "budget-torch-bf16-cpu.json").write_text(content)
    tokens = TokenBudget(ref, "cpu", 512, (512, 1024))
    tokens.count(MEASURE_AFTER)

    assert (tokens.tokens, tokens.due) == (512, True)


def test_a_budget_that_cannot_be_kept_is_used_all_the_same(
    ref: EmbedderRef, tmp_path: Path
) -> None:
    (tmp_path / "engines").write_text("a file where a folder was expected")
    tokens = TokenBudget(ref, "cpu", 512)

    with pytest.warns(UserWarning, match=r"the token budget 256 could not be kept in .*engines"):
        tokens.lower(512)
    assert tokens.tokens == 256
