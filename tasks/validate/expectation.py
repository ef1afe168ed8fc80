"""One expectation, made definite: what is expected, of which columns of which sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from schemas.spec import Severity
from tasks.validate.catalog import COLUMN_ARGUMENTS, Level

SHORT = 80
"""Characters of a value that a reject shows."""


@dataclass(frozen=True)
class Expectation:
    """An expectation of Great Expectations; plain data, so that the library can come late."""

    type: str
    level: Level
    kwargs: dict[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()  # those whose records it is about
    severity: Severity = "refuse"  # of table expectations; a failing row is a reject

    @property
    def name(self) -> str:
        """`expectation:<type>`, with its columns where it has some: the name of its audit."""
        return ":".join(
            ["expectation", self.type, *([",".join(self.columns)] * bool(self.columns))]
        )

    @property
    def expected(self) -> str:
        """What it expects, for people: `expect_…(column='size', max_value=10)`."""
        arguments = ", ".join(f"{k}={shortened(v)}" for k, v in self.kwargs.items())
        return f"{self.type}({arguments})"

    @property
    def conditions(self) -> str:
        """Its arguments without the columns."""
        return ", ".join(
            f"{k}={shortened(v)}" for k, v in self.kwargs.items() if k not in COLUMN_ARGUMENTS
        )

    def identity(self) -> list[object]:
        """What its results depend on."""
        return [self.type, self.kwargs, sorted(self.sources), self.severity]


def shortened(value: object) -> str:
    """The value as Python writes it, at most `SHORT` characters of it."""
    text = repr(value[: 2 * SHORT] if isinstance(value, str | bytes) else value)
    return text if len(text) <= SHORT else f"{text[:SHORT]}…"
