"""What came of one expectation on some records."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Outcome:
    """Whether it holds; the rows that fail it (by the column `row`), each with its values.

    `elements` counts the records judged one by one, `missing` the nulls among them that it is not
    about, `unexpected` those that fail; an aggregate has `observed` instead.
    """

    success: bool
    observed: object = None
    elements: int = 0
    unexpected: int = 0
    missing: int = 0
    failing: dict[int, dict[str, object]] = field(default_factory=dict)
