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
    """A column that the picture can be coloured by: `names[codes[i]]` is point i's value.

    `tones[code]` is its colour: a place in the palette, −1 for grey. The palette of an `ordered`
    column goes from low to high.
    """

    column: str
    names: tuple[str, ...]
    codes: tuple[int, ...]
    tones: tuple[int, ...] = ()
    ordered: bool = False


@dataclass(frozen=True)
class MapLabel:
    """The name of a cluster, where it stands on the map; the largest come first."""

    name: str
    cluster: int
    x: float
    y: float


@dataclass(frozen=True)
class Picture:
    """A sample of one kind's vectors: on the map of a fit, else on two principal components."""

    kind: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    members: tuple[Member, ...]
    colourings: tuple[Colouring, ...]
    of: int
    explained: float | None = None  # share of the variance on the two axes; None: a fit's map
    fit_id: str | None = None
    method: str | None = None  # of the fit's map: pca | umap
    labels: tuple[MapLabel, ...] = ()

    @property
    def sampled(self) -> int:
        """How many points are drawn."""
        return len(self.x)


@dataclass(frozen=True)
class Cluster:
    """A cluster of one kind: name, further terms, `size` of `of` rows, and some rows."""

    kind: str
    name: str
    terms: tuple[str, ...]
    size: int
    of: int
    members: tuple[Member, ...]


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
    clusters: Sequence[Cluster] = ()
    clusters_left: int = 0  # that are not shown
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
