"""From sources to the state that a build judges: survey → ingest → validate → chunk → dedupe.

Nothing here knows the published table; the same files under the same settings give the same state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from flows.runner import Runner
from schemas.errors import SourceError
from schemas.manifest import AuditResult, SourceRecord
from schemas.refs import EmbedderRef, ItemsPart, RecordsPart, RejectsRef, SourceListing
from schemas.spec import SpaceSpec
from tasks.store.workdir import Store


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

    @property
    def records(self) -> int:
        """Records met, used or not."""
        return sum(part.records + part.rejects.records for part in self.parts)

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
                    for part in self.parts
                    if part.source == listing.name
                ),
                fingerprint=listing.fingerprint,
            )
            for listing in self.listings
        )


def gather(
    spec: SpaceSpec,
    embedder: EmbedderRef,
    known: pa.Schema | None,
    store: Store,
    runner: Runner,
    workers: int,
    tombstones: Mapping[str, str],
) -> State:
    """Read, validate, chunk and compare everything; `known` are the published user columns.

    `tombstones` are the files of `tombstone_files`: what was forgotten is not read.

    A state that a validation refuses has no items: see its verdicts. Raises `SourceError` for a
    source that cannot be listed or is empty.
    """
    from tasks.chunk.chunk_part import chunk_part
    from tasks.chunk.rule import chunk_rule
    from tasks.dedupe.exact import mark_exact
    from tasks.ingest.read_part import read_part
    from tasks.ingest.repeats import find_repeats
    from tasks.ingest.survey import survey
    from tasks.validate.rows import validate_part
    from tasks.validate.state import validate_state
    from tasks.validate.suite import load_suite

    suite = load_suite(spec, store)
    found = runner.run("ingest", survey, spec, known, tombstones)
    specs = [part for listing in found.listings for part in listing.parts]
    parts = runner.map("ingest", read_part, [(part, store) for part in specs], workers=workers)
    _refuse_empty(spec, found.listings, parts)
    repeats = runner.run("ingest", find_repeats, parts, store)

    rows = sum(part.records for part in parts)
    judged = runner.map(
        "validate",
        validate_part,
        [(part, (repeats,), suite, store) for part in parts],
        rows=rows,
    )
    rejects = [*(part.rejects for part in parts), repeats, *judged]
    verdicts = runner.run("validate", validate_state, parts, rejects, suite, spec, store)
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
