"""From sources to the state that a build judges: survey → ingest → validate → chunk → dedupe.

The same files under the same settings give the same state. Only a source of `mode: append` looks at
the release that stands, for the records that it keeps of files that are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from flows.job import Job
from flows.standing import Standing
from schemas.errors import SourceError
from schemas.manifest import AuditResult, SourceRecord
from schemas.refs import EmbedderRef, ItemsPart, RecordsPart, RejectsRef, SourceListing
from schemas.spec import SpaceSpec
from tasks.dedupe.exact import mark_exact
from tasks.dedupe.near import find_near, unseen_pictures
from tasks.table.tombstones import tombstone_files

if TYPE_CHECKING:
    from tasks.ingest.repeats import Repeats
    from tasks.validate.suite import Suite


@dataclass(frozen=True)
class State:
    """Everything the sources hold, by reference."""

    columns: tuple[pa.Field, ...]  # the user's, as the table will have them
    listings: tuple[SourceListing, ...]
    parts: tuple[RecordsPart, ...]
    items: tuple[ItemsPart, ...]
    rejects: tuple[RejectsRef, ...]
    verdicts: tuple[AuditResult, ...]
    duplicates: str  # path of the marks; "" when the state was refused before
    excluded: tuple[tuple[RejectsRef, ...], ...]  # of each part: the rejects of its records
    kept: tuple[ItemsPart, ...]  # published rows without a file; among `items`, if there are any
    repeated: dict[str, int]  # records that gave way to another of their key, by source
    forgotten: dict[str, int]  # records that were left out because they had been, by source
    roots: dict[str, tuple[str, ...]]  # of the relative paths, by source

    @property
    def records(self) -> int:
        """Records met, used or not, and those kept of the release."""
        met = sum(part.records + part.rejects.records for part in self.parts)
        return met + sum(part.records for part in self.kept)

    @property
    def records_used(self) -> int:
        """Records that became items, or would have if no validation had refused the state."""
        if self.duplicates:
            return sum(part.records for part in self.items)
        return self.records - self.records_rejected

    @property
    def records_rejected(self) -> int:
        """Records that could not be used, at any stage."""
        return sum(ref.records for ref in self.rejects)

    @property
    def sources(self) -> tuple[SourceRecord, ...]:
        """Each source with what it held."""
        return tuple(
            SourceRecord(
                name=listing.name,
                files=listing.files,
                records=sum(
                    part.records + part.rejects.records
                    for part in (*self.parts, *self.kept)
                    if part.source == listing.name
                ),
                fingerprint=listing.fingerprint,
                repeated=self.repeated.get(listing.name, 0),
                forgotten=self.forgotten.get(listing.name, 0),
                roots=self.roots[listing.name],
            )
            for listing in self.listings
        )


Waive = Callable[
    [Sequence[RecordsPart | ItemsPart], Sequence[RejectsRef], Sequence[AuditResult]],
    Sequence[AuditResult],
]
"""Turns the verdicts on the records of some parts (kept ones are items), less some rejects, into
those that count."""


def gather(job: Job, standing: Standing, waive: Waive) -> State:
    """Read, validate, chunk and compare everything that the sources hold.

    A state that a validation refuses has no items: see its verdicts, which `waive` may change
    before that is decided. Raises `SourceError` for a source that cannot be listed or is empty.
    """
    from tasks.ingest.forgotten import count_forgotten
    from tasks.ingest.published import append_sources, source_roots
    from tasks.ingest.repeats import find_repeats
    from tasks.ingest.survey import survey
    from tasks.validate.suite import load_suite

    suite = load_suite(job.spec, job.store)  # first: a wrong one is refused before anything is read
    spec, run, release = job.spec, job.runner.run, standing.release
    forgotten = tombstone_files(job.table, job.store)
    found = run("ingest", survey, spec, standing.columns, forgotten)
    parts = _read(job, found.listings)
    _refuse_empty(spec, found.listings, parts)
    latest = [source.name for source in spec.sources if source.on_repeat == "latest"]
    published = append_sources(job.table, release, spec, found.listings)
    again = run("ingest", find_repeats, parts, job.store, latest, published)
    judged, verdicts = _judge(job, suite, parts, again)
    rejects = [*(part.rejects for part in parts), again.rejects, *judged]
    verdicts = waive([*parts, *again.kept], rejects, verdicts)
    items: list[ItemsPart] = []
    out: list[tuple[RejectsRef, ...]] = []
    duplicates = ""
    if not any(verdict.refuses for verdict in verdicts):
        out = [(again.rejects, ref) for ref in judged]
        items = _cut(job, standing.embedder, parts, out)
        out = [(*refs, part.rejects) for refs, part in zip(out, items, strict=True)]
        items += again.kept  # last: a content that a file still holds is read from there
        rejects += [part.rejects for part in items]
        duplicates, near = mark_records(job, parts, items, out, again.kept)
        verdicts = [*verdicts, *_unseen(near)]
    manifest = release.manifest if release else None
    return State(
        columns=tuple(found.columns),
        listings=tuple(found.listings),
        parts=tuple(parts),
        items=tuple(items),
        rejects=tuple(rejects),
        verdicts=tuple(verdicts),
        duplicates=duplicates,
        excluded=tuple(out),
        kept=again.kept,
        repeated=again.repeated,
        forgotten=count_forgotten(found.listings, parts),
        roots={
            listing.name: source_roots(spec.source(listing.name), listing, manifest)
            for listing in found.listings
        },
    )


def mark_records(
    job: Job,
    parts: Sequence[RecordsPart],
    items: Sequence[ItemsPart],
    excluded: Sequence[tuple[RejectsRef, ...]],
    kept: Sequence[ItemsPart],
) -> tuple[str, str]:
    """The paths of the verdicts before any vector, and of the near marks ("": near is off)."""
    run, dedupe, near = job.runner.run, job.spec.dedupe, ""
    if dedupe.near is not None:
        options = job.table.storage_options
        near = run("dedupe", find_near, parts, excluded, kept, dedupe, job.store, options)
    return run("dedupe", mark_exact, items, dedupe, job.store, near), near


def _unseen(near: str) -> list[AuditResult]:
    """A warning where pictures could not be compared; `near` is the path of the marks."""
    unseen = unseen_pictures(near)
    if not unseen:
        return []
    detail = (
        f"{unseen:,} of the pictures were compared with no other: they have no thumbnail, and "
        "their file is gone or holds another picture by now; put the files back, or set "
        "publish.thumbnails"
    )
    return [
        AuditResult(
            name="near-images",
            value=unseen,
            threshold=0,
            passed=False,
            severity="warn",
            detail=detail,
        )
    ]


def _read(job: Job, listings: Sequence[SourceListing]) -> list[RecordsPart]:
    """Every part, read or found; in a retry those with rejects that may have healed once more."""
    from tasks.ingest.read_part import read_part
    from tasks.ingest.retry_part import retry_part

    specs = [part for listing in listings for part in listing.parts]
    run = partial(job.runner.map, "ingest", workers=job.workers)
    if retried := job.overrides.retried:
        return run(retry_part, [(part, retried, job.store) for part in specs])
    return run(read_part, [(part, job.store) for part in specs])


def _judge(
    job: Job, suite: Suite, parts: Sequence[RecordsPart], again: Repeats
) -> tuple[list[RejectsRef], list[AuditResult]]:
    """The records that do not meet the expectations, and the verdicts on all of them together."""
    from tasks.validate.rows import validate_part
    from tasks.validate.state import validate_state

    calls = [(part, (again.rejects,), suite, job.store) for part in parts]
    rows = sum(part.records for part in parts)
    judged = job.runner.map("validate", validate_part, calls, rows=rows)
    rejects = [*(part.rejects for part in parts), again.rejects, *judged]
    kept = {part.source: part.records for part in again.kept}
    verdicts = job.runner.run(
        "validate", validate_state, parts, rejects, suite, job.spec, job.store, kept
    )
    return judged, verdicts


def _cut(
    job: Job,
    embedder: EmbedderRef,
    parts: Sequence[RecordsPart],
    excluded: Sequence[tuple[RejectsRef, ...]],
) -> list[ItemsPart]:
    """The items of each part, without the records that `excluded` takes out of it."""
    from tasks.chunk.chunk_part import chunk_part
    from tasks.chunk.rule import chunk_rule

    rules = {source.name: chunk_rule(job.spec, source, embedder) for source in job.spec.sources}
    calls = [
        (part, out, rules[part.source], job.store)
        for part, out in zip(parts, excluded, strict=True)
    ]
    return job.runner.map("chunk", chunk_part, calls, rows=sum(part.records for part in parts))


def _refuse_empty(
    spec: SpaceSpec, listings: Sequence[SourceListing], parts: Sequence[RecordsPart]
) -> None:
    """A source without any record is a mistake of whoever wrote it, not a wish to remove all."""
    for listing in listings:
        own = [part for part in parts if part.source == listing.name]
        if not any(part.records + part.rejects.records for part in own):
            path = spec.source(listing.name).path
            raise SourceError(
                listing.name,
                f"source {listing.name!r}: the {listing.files:,} files of {path!r} hold no record; "
                "expected at least one: see whether the source was written whole, and build again",
            )
