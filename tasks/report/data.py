"""What a report shows: small frozen values, bounded whatever the size of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from schemas.manifest import Manifest
from tasks.query.rejects import RejectGroup


@dataclass(frozen=True)
class Member:
    """A row as a picture or a line of text: `thumbnail` is JPEG bytes."""

    id: str
    text: str | None = None
    thumbnail: bytes | None = None
    score: float | None = None


@dataclass(frozen=True)
class DuplicateGroup:
    """A row that is kept and the rows that say the same; `copies` are examples of `count`."""

    kind: str  # exact | near | semantic
    kept: Member
    count: int
    copies: tuple[Member, ...]


@dataclass(frozen=True)
class Histogram:
    """Counts of a sample's vector norms: `edges` has one value more than `counts`."""

    kind: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    sampled: int
    of: int
    mean: float

    @property
    def lowest(self) -> float:
        """The smallest norm seen."""
        return self.edges[0]

    @property
    def highest(self) -> float:
        """The largest norm seen."""
        return self.edges[-1]


@dataclass(frozen=True)
class Colouring:
    """A column that the picture can be coloured by: `names[codes[i]]` is point i's value."""

    column: str
    names: tuple[str, ...]
    codes: tuple[int, ...]


@dataclass(frozen=True)
class Picture:
    """A sample of one kind's vectors on their first two principal components."""

    kind: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    members: tuple[Member, ...]
    colourings: tuple[Colouring, ...]
    explained: float  # share of the variance that the two axes carry
    of: int

    @property
    def sampled(self) -> int:
        """How many points are drawn."""
        return len(self.x)


@dataclass(frozen=True)
class ReportData:
    """Everything that one report shows.

    `rows_seen` is false where the vectors are gone (a refused build whose candidate was
    discarded): the page then says so instead of showing empty sections.
    """

    manifest: Manifest
    rejects: Sequence[RejectGroup] = ()
    duplicates: Sequence[DuplicateGroup] = ()
    norms: Sequence[Histogram] = ()
    pictures: Sequence[Picture] = ()
    rows_by_source: Mapping[str, int] = field(default_factory=dict)
    rows_seen: bool = True

    @property
    def rejects_by_stage(self) -> dict[tuple[str, str], int]:
        """(level, stage) → how many were rejected there."""
        totals: dict[tuple[str, str], int] = {}
        for group in self.rejects:
            place = (group.level, group.stage)
            totals[place] = totals.get(place, 0) + group.count
        return totals
