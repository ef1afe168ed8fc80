"""From sources to the state that a build judges: survey → ingest → validate → chunk → dedupe.

The same files under the same settings give the same state. Only a source of `mode: append` looks at
the release that stands, for the records that it keeps of files that are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from flows.runner import Runner
from schemas.errors import SourceError
from schemas.manifest import AuditResult, SourceRecord
from schemas.refs import EmbedderRef, ItemsPart, RecordsPart, RejectsRef, SourceListing
from schemas.spec import SpaceSpec
from tasks.store.workdir import Store
from tasks.table.dataset import TableRef
from tasks.table.releases import Release


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
    kept: tuple[ItemsPart, ...]  # published rows without a file; among `items`, if there are any
    repeated: dict[str, int]  # records that gave way to another of their key, by source
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
                roots=self.roots[listing.name],
            )
            for listing in self.listings
        )


Waive = Callable[
    [Sequence[RecordsPart], Sequence[RejectsRef], Sequence[AuditResult]], Sequence[AuditResult]
]
"""Turns the verdicts on the records of some parts, less some rejects, into those that count."""


def gather(
    spec: SpaceSpec,
    embedder: EmbedderRef,
    known: pa.Schema | None,
    store: Store,
    runner: Runner,
    workers: int,
    table: TableRef,
    release: Release | None,
    tombstones: Mapping[str, str],
    retried: frozenset[str] = frozenset(),
    waive: Waive | None = None,
) -> State:
    """Read, validate, chunk and compare everything; `known` are the published user columns.

    `release` is the one of `table` that stands, None where there is none. `tombstones` are the
    files of `tombstone_files`: what was forgotten is not read. Records that were rejected for a
    reason in `retried` are read again. A state that a validation refuses has no items: see its
    verdicts, which `waive` may change before that is decided. Raises `SourceError` for a source
    that cannot be listed or is empty.
    """
    from tasks.chunk.chunk_part import chunk_part
    from tasks.chunk.rule import chunk_rule
    from tasks.dedupe.exact import mark_exact
    from tasks.ingest.published import append_sources, source_roots
    from tasks.ingest.read_part import read_part
    from tasks.ingest.repeats import find_repeats
    from tasks.ingest.retry_part import retry_part
    from tasks.ingest.survey import survey
    from tasks.validate.rows import validate_part
    from tasks.validate.state import validate_state
    from tasks.validate.suite import load_suite

    suite = load_suite(spec, store)
    found = runner.run("ingest", survey, spec, known, tombstones)
    specs = [part for listing in found.listings for part in listing.parts]
    if retried:
        calls = [(part, retried, store) for part in specs]
        parts = runner.map("ingest", retry_part, calls, workers=workers)
    else:
        parts = runner.map("ingest", read_part, [(part, store) for part in specs], workers=workers)
    _refuse_empty(spec, found.listings, parts)
    latest = [source.name for source in spec.sources if source.on_repeat == "latest"]
    published = append_sources(table, release, spec, found.listings)
    again = runner.run("ingest", find_repeats, parts, store, latest, published)
    repeats = again.rejects

    rows = sum(part.records for part in parts)
    judged = runner.map(
        "validate",
        validate_part,
        [(part, (repeats,), suite, store) for part in parts],
        rows=rows,
    )
    rejects = [*(part.rejects for part in parts), repeats, *judged]
    kept = {part.source: part.records for part in again.kept}
    verdicts = runner.run("validate", validate_state, parts, rejects, suite, spec, store, kept)
    if waive is not None:
        verdicts = waive(parts, rejects, verdicts)
    items: Sequence[ItemsPart] = ()
    duplicates = ""
    if not any(verdict.refuses for verdict in verdicts):
        rules = {source.name: chunk_rule(spec, source, embedder) for source in spec.sources}
        excluded = [(repeats, ref) for ref in judged]
        items = runner.map(
            "chunk",
            chunk_part,
            [
                (part, out, rules[part.source], store)
                for part, out in zip(parts, excluded, strict=True)
            ],
            rows=rows,
        )
        items = [*items, *again.kept]  # last: a content that a file still holds is read from there
        rejects += [part.rejects for part in items]
        duplicates = runner.run("dedupe", mark_exact, items, spec.dedupe, store)
    return State(
        columns=tuple(found.columns),
        listings=tuple(found.listings),
        parts=tuple(parts),
        items=tuple(items),
        rejects=tuple(rejects),
        verdicts=tuple(verdicts),
        duplicates=duplicates,
        kept=again.kept,
        repeated=again.repeated,
        roots={
            listing.name: source_roots(
                spec.source(listing.name), listing, release.manifest if release else None
            )
            for listing in found.listings
        },
    )


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
