"""What was measured, and the markdown tables made of it: medians over the rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from peer_state import State

STEPS = ("first build", "no-op", "1 %", "killed", "resumed")
"""In the order in which they run."""


@dataclass(frozen=True)
class Step:
    """One system's process in one step of one round."""

    round: int
    system: str
    step: str
    code: int
    cpu_seconds: float
    seconds: float
    peak_mb: float
    embedded: int
    """Rows that went through the model, documents or not."""
    twice: int | None = None
    """Of a resumed build: rows embedded that it or the killed build had embedded before."""
    state: State | None = None
    """The table afterwards; null for a system without one."""
    failed: str | None = None
    """What a process that ended badly said last."""


Cell = Callable[[Sequence[Step]], str]


def cost_table(steps: Sequence[Step], systems: Sequence[str]) -> str:
    """What each step took: CPU-seconds, seconds by the clock, and both floors' ratios."""
    rows = []
    for step in STEPS:
        for system in systems:
            found = _of(steps, step, system)
            if not found:
                continue
            cpu = median(one.cpu_seconds for one in found)
            rows.append(
                [
                    step,
                    system,
                    f"{cpu:.1f}",
                    f"{median(one.seconds for one in found):.1f}",
                    _ratio(cpu, _of(steps, step, "vecmill")),
                    _ratio(cpu, _of(steps, STEPS[0], "encode loop")),
                    str(round(median(one.embedded for one in found))),
                    f"{median(one.peak_mb for one in found):.0f}",
                ]
            )
    heads = ["step", "system", "CPU s", "clock s", "÷ vecmill", "÷ loop", "embedded", "peak MB"]
    return markdown(heads, rows, numbers=6)


def state_table(steps: Sequence[Step], systems: Sequence[str]) -> str:
    """What stood in the tables: the worst of the rounds."""
    rows = []
    for step in STEPS:
        for system in systems:
            found = [one for one in _of(steps, step, system) if one.state is not None]
            if found and step != "no-op":
                rows.append([step, system, *_state_cells(found)])
    heads = ["after", "system", "rows", "missing", "repeated", "deleted found", "old text"]
    return markdown([*heads, "embedded twice", "1 − cos"], rows, numbers=7)


def _state_cells(steps: Sequence[Step]) -> list[str]:
    states = [step.state for step in steps if step.state is not None]
    twice = [step.twice for step in steps if step.twice is not None]
    worst = [state.worst for state in states if state.worst is not None]
    return [
        str(round(median(state.rows for state in states))),
        str(max(state.missing for state in states)),
        str(max(state.repeated for state in states)),
        str(max(state.deleted_found for state in states)),
        str(max(state.old_text for state in states)),
        str(max(twice)) if twice else "",
        f"{max(max(worst), 0):.0e}" if worst else "",
    ]


def _of(steps: Sequence[Step], step: str, system: str) -> list[Step]:
    """The rounds of one step that ended as they should."""
    return [one for one in steps if (one.step, one.system) == (step, system) and one.failed is None]


def _ratio(value: float, floor: Sequence[Step]) -> str:
    """`value` as a multiple of the floor's median CPU-seconds."""
    return f"{value / median(one.cpu_seconds for one in floor):.2f}" if floor else ""


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> str:
    """A markdown table; its last `numbers` columns are set to the right."""
    marks = ["---"] * (len(heads) - numbers) + ["---:"] * numbers
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, marks, *rows))
