"""What stages hand to each other: references to files in the `workdir`, and counts. Never data.

All are small, frozen and serialisable: they travel through Prefect, to other processes and
machines.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from schemas.engines import AUTO, REFERENCE
from schemas.spec import SourceSpec


@dataclass(frozen=True)
class FileRef:
    """One source file as the listing saw it."""

    uri: str  # absolute local path, or object-store URI
    key: str  # relative to the source's root: POSIX, NFC
    size: int
    stamp: str  # mtime in ns, or the object store's etag
    problem: str | None = None  # a reject reason that the listing found (outside-root)


@dataclass(frozen=True)
class PartSpec:
    """A bundle of files that is read together: the unit of ingest. `digest` names its result."""

    digest: str
    source: SourceSpec
    files: tuple[FileRef, ...]
    columns: tuple[tuple[str, str], ...]  # the user's columns: (name in the table, arrow type)
    thumbnails: bool
    storage_options: tuple[tuple[str, str], ...] = ()  # option → environment variable's name
    tombstones: str = ""  # path of the source's tombstones; "": it has none
    gone: tuple[tuple[str, str], ...] = ()  # files that went since they were listed: URI → why


@dataclass(frozen=True)
class SourceListing:
    """What a source holds before it is read."""

    name: str
    kind: str
    files: int
    fingerprint: str
    parts: tuple[PartSpec, ...]


@dataclass(frozen=True)
class RejectsRef:
    """A `rejects/*.parquet` file: `records` and `items` count its rows by level."""

    path: str
    records: int = 0
    items: int = 0


@dataclass(frozen=True)
class RecordsPart:
    """A `records/*.parquet` file: the usable records of one part, and its rejects beside it."""

    digest: str
    source: str
    kind: str
    path: str
    records: int  # usable ones, rows of the file
    rejects: RejectsRef


@dataclass(frozen=True)
class ItemsPart:
    """An `items/*.parquet` file: what is to be embedded, in record order."""

    digest: str
    source: str
    kind: str
    path: str
    records: int  # records that became items
    items: int
    truncated: int  # whole records beyond the model's window
    rejects: RejectsRef


@dataclass(frozen=True)
class Shard:
    """The unit of embedding: `length` rows from `offset` of a `contents` file."""

    index: int
    contents: str  # parquet: content_hash, kind, part (an items file), row
    offset: int
    length: int


@dataclass(frozen=True)
class ShardResult:
    """What embedding a shard left behind.

    `found`: an earlier run or another builder had done it. `claimed_by`: another living builder is
    at it, and nothing was done here.
    """

    path: str | None  # a vectors file; None when every item was rejected, or found elsewhere
    embedded: int
    rejects: RejectsRef
    tokens: int = 0
    slots: int = 0  # tokens with their padding
    seconds: float = 0.0  # once the model was loaded
    model_seconds: float = 0.0  # of those: in the model, or waiting for its vectors
    load_seconds: float = 0.0  # before: until the model was loaded; next to none where it was
    found: bool = False
    claimed_by: str | None = None


@dataclass(frozen=True)
class EmbedderRef:
    """A resolved embedder: everything that another process needs to build the same one.

    `fingerprint` names the embedding space; `vector_key` the files its vectors lie in. `engine` and
    `precision` may still be `auto`: then it can be planned with, but nothing be kept under its
    `vector_key`.
    """

    kind: str
    model: str  # as the spec says, for people
    folder: str  # where its files lie on this machine
    fingerprint: str
    dimensions: int
    engine: str
    precision: str
    normalize: bool
    kinds: frozenset[str]
    window: int | None  # content tokens that fit after special and prompt tokens; None: no text
    tokenizer: str | None  # path of its tokenizer.json
    tokenizer_digest: str | None
    prompt: str
    query_prompt: str
    truncate: int | None  # Matryoshka dimensions
    revision: str | None = None
    hub_id: str | None = None  # set when LanceDB could load it by this name
    config: dict = field(default_factory=dict)  # what the kind's loader needs besides
    exports: str = ""  # folder in the `workdir` for the model as other engines want it; "": none

    @property
    def decided(self) -> bool:
        """Whether engine and precision are chosen."""
        return AUTO not in (self.engine, self.precision)

    @property
    def plain(self) -> EmbedderRef:
        """Itself, with torch and fp32 where engine or precision is not chosen."""
        engine, precision = REFERENCE
        return replace(
            self,
            engine=engine if self.engine == AUTO else self.engine,
            precision=precision if self.precision == AUTO else self.precision,
        )

    @property
    def static(self) -> bool:
        """Whether its vectors are looked up for each token: there is nothing to compute."""
        return bool(self.config.get("static"))

    @property
    def vector_key(self) -> str:
        """Names the folder of vectors that may be reused for this embedder.

        Where it is not `decided` there is no such folder, as nothing can be embedded with it.
        """
        return f"{self.fingerprint}-{self.engine}-{self.precision}"


@dataclass(frozen=True)
class PlanRef:
    """What a build will do against its base version.

    `path` is a parquet file with one row for each item of the new state and one for each row of
    the base that leaves (`PLAN` in `schemas.arrow`); `contents` one with the distinct contents
    that have no vector yet (`CONTENTS`), in item order.
    """

    path: str
    contents: str
    classes: dict[str, int]  # new, changed, metadata_only, rejudged, unchanged, removed
    to_embed: int
    overwrite: bool  # the table's schema changes: every row is written again
    base_version: int

    @property
    def changes(self) -> bool:
        """Whether anything would be written."""
        return self.overwrite or any(n for name, n in self.classes.items() if name != "unchanged")
