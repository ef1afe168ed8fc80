"""The record of a build, as `build --json` prints it and the table's version carries it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.spec import Severity

MANIFEST_VERSION = 1


class Part(BaseModel):
    """A piece of a manifest: frozen, and unknown fields are a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class DuplicateCounts(Part):
    """Rows marked, by tier."""

    exact: int = 0
    near: int = 0
    semantic: int = 0


class Counts(Part):
    """The whole state after the build, and what the build did to get there.

    `records = records_used + records_rejected` and `items = rows + items_rejected`, always.
    """

    records: int = 0
    records_used: int = 0
    records_rejected: int = 0
    items: int = 0
    items_rejected: int = 0
    rows: int = 0
    new: int = 0
    changed: int = 0
    metadata_only: int = 0
    rejudged: int = 0
    unchanged: int = 0
    removed: int = 0
    embedded: int = Field(0, description="Distinct contents embedded by this build.")
    reused: int = Field(0, description="Rows written with a vector that existed already.")
    truncated: int = Field(0, description="Whole records longer than the model's window.")
    duplicates: DuplicateCounts = DuplicateCounts()

    def problems(self) -> list[str]:
        """The equations that do not hold, in words; empty when all do."""
        checks = {
            "records = records_used + records_rejected": (
                self.records,
                self.records_used + self.records_rejected,
            ),
            "items = rows + items_rejected": (self.items, self.rows + self.items_rejected),
            "rows = new + changed + metadata_only + rejudged + unchanged": (
                self.rows,
                self.new + self.changed + self.metadata_only + self.rejudged + self.unchanged,
            ),
        }
        return [f"{name}: {a} ≠ {b}" for name, (a, b) in checks.items() if a != b]


class EmbedderRecord(Part):
    """Which embedding space the vectors belong to, and how they were computed."""

    fingerprint: str
    kind: str
    model: str
    dimensions: int
    precision: str
    engine: str


class AuditResult(Part):
    """One verdict: what was measured against which limit."""

    name: str
    value: float | None
    threshold: float | None
    passed: bool
    severity: Severity
    detail: str

    @property
    def refuses(self) -> bool:
        """Whether this verdict alone stops the build."""
        return not self.passed and self.severity == "refuse"


class Timings(Part):
    """Seconds by the clock, a stage each."""

    start_up: float = 0.0
    ingest: float = 0.0
    validate_: float = Field(0.0, alias="validate")  # `validate` would shadow pydantic's method
    dedupe: float = 0.0
    chunk: float = 0.0
    plan: float = 0.0
    embed: float = 0.0
    cluster: float = 0.0
    stage: float = 0.0
    audit: float = 0.0
    publish: float = 0.0
    total: float = 0.0

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        populate_by_name=True,
        serialize_by_alias=True,
    )


class SourceRecord(Part):
    """What a source held: `fingerprint` digests the listing and the ingest settings.

    `repeated` of its records gave way to another of the same key; `forgotten` ones were left out.
    `roots` are the folders that its rows' relative paths start in: today's, and of an append source
    those of its past.
    """

    name: str
    files: int
    records: int
    fingerprint: str
    repeated: int = 0
    forgotten: int = 0
    roots: tuple[str, ...] = ()

    @property
    def wanted(self) -> int:
        """The records whose loss is one: when the others go, nothing is missing."""
        return self.records - self.repeated - self.forgotten


class Manifest(Part):
    """The record of one build."""

    manifest_version: int = MANIFEST_VERSION
    space: str
    build_id: str
    release: str | None = None
    version: int | None = None
    published: bool = False
    refused_by: tuple[str, ...] = ()
    tag: str
    base_release: str | None = None
    input_hash: str = ""
    resolved_spec: dict[str, Any]
    counts: Counts = Counts()
    embedder: EmbedderRecord
    fit_id: str | None = None
    audits: tuple[AuditResult, ...] = ()
    timings: Timings = Timings()
    sources: tuple[SourceRecord, ...] = ()
    code_version: str
    started_at: datetime
    finished_at: datetime | None = None

    def to_json(self, indent: int | None = None) -> str:
        """The JSON text, with the names of DESIGN (`timings.validate`)."""
        return self.model_dump_json(by_alias=True, indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """The manifest that `to_json` wrote."""
        return cls.model_validate_json(text)
