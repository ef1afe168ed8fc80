"""What embedding cost, for people: tokens a second, padding; loading the model is start-up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flows.stage_rate import percent
from schemas.refs import ShardResult

WORTH_SAYING = 1.0
"""Seconds: the speed of a shorter embedding says more of its first batch than of the model."""


@dataclass(frozen=True)
class EmbeddingCost:
    """Of one build: `tokens` in `slots` with their padding, `seconds` by the clock."""

    tokens: int = 0
    slots: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        """` (921,612 tokens, 36,000 tokens/s, 1.8 % padding)`; "" where it says nothing."""
        if not self.tokens or self.seconds < WORTH_SAYING:
            return ""
        padding = percent(1 - self.tokens / self.slots)
        speed = self.tokens / self.seconds
        return f" ({self.tokens:,} tokens, {speed:,.0f} tokens/s, {padding} padding)"


def account(seconds: dict[str, float], results: Iterable[ShardResult]) -> EmbeddingCost:
    """The cost of embedding these shards; the time to load the model moves to `start_up`.

    `seconds` are those of each stage. Processes that work side by side load side by side, so the
    longest loading counts.
    """
    results = list(results)
    loading = min(max((r.load_seconds for r in results), default=0.0), seconds.get("embed", 0.0))
    if loading:
        seconds["embed"] -= loading
        seconds["start_up"] = seconds.get("start_up", 0.0) + loading
    return EmbeddingCost(
        tokens=sum(result.tokens for result in results),
        slots=sum(result.slots for result in results),
        seconds=seconds.get("embed", 0.0),
    )
