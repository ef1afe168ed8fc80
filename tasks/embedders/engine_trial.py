"""The results of measuring engines: one trial for each, and the choice among them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

THRESHOLD = 2e-4
"""The largest 1 − cos to fp32 torch that an engine may show: bf16's honest tolerance (FACTS)."""


@dataclass(frozen=True)
class Trial:
    """One engine and precision, tried on the 64 inputs of each kind that the embedder takes."""

    engine: str
    precision: str
    off: float | None = None  # the largest 1 − cos; None: it gave no vectors to compare
    seconds: Mapping[str, float] = field(default_factory=dict)  # kind → best, over its 64 inputs
    problem: str | None = None  # why it may not be used

    @property
    def name(self) -> str:
        """`openvino bf16`."""
        return f"{self.engine} {self.precision}"

    def seconds_for(self, kinds: Collection[str]) -> float:
        """Seconds for the inputs of all `kinds` together."""
        return sum(self.seconds[kind] for kind in kinds)


@dataclass(frozen=True)
class Choice:
    """What `auto` came to: the engine and precision, why, and everything that was tried."""

    engine: str
    precision: str
    why: str
    trials: tuple[Trial, ...]

    @property
    def name(self) -> str:
        """`openvino bf16`."""
        return f"{self.engine} {self.precision}"
