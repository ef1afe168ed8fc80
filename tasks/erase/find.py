"""What is asked for, and everything of it that is there: table, rejects, staged files."""

from __future__ import annotations

import json
from dataclasses import dataclass

import polars as pl

from schemas.errors import UsageError
from schemas.spec import SpaceSpec
from tasks.erase.asked import Asked, Record, Request, matching_records, named_records
from tasks.erase.companions import HeldRejects, held_rejects
from tasks.erase.holders import Holding, look
from tasks.erase.staged import Staged, look_at_staged
from tasks.table.companions import read_events
from tasks.table.dataset import TableRef, open_version
from tasks.table.releases import Release, list_releases, tagged_release
from tasks.table.tombstones import read_tombstones


@dataclass(frozen=True)
class Found:
    """What is asked, and everything of it that is there."""

    asked: Asked
    release: Release | None  # that the moving tag names
    holding: Holding
    rejects: HeldRejects
    staged: Staged
    notes: tuple[str, ...] = ()

    @property
    def nowhere(self) -> bool:
        """Whether nothing of the records is anywhere."""
        return not (self.holding.files or self.rejects.rows or self.staged.files)

    @property
    def held(self) -> frozenset[str]:
        """The names of the releases that held them."""
        return frozenset(release.name for release in self.holding.releases)


def find(spec: SpaceSpec, ref: TableRef, request: Request) -> Found:
    """Resolve the request and look everywhere; writes nothing."""
    records, notes = _resolve(spec, ref, request)
    asked = Asked(records, _unfinished(ref))
    rejects = held_rejects(ref, asked)
    asked = asked.plus(rejects.records)
    return Found(
        asked,
        tagged_release(ref, spec.publish.tag),
        look(ref, asked, spec.publish.tag),
        rejects,
        look_at_staged(spec.workdir, spec.space, asked),
        notes,
    )


def known_sources(spec: SpaceSpec, ref: TableRef) -> set[str]:
    """The sources of the spec, of every release, and of tombstones."""
    names = {source.name for source in spec.sources}
    for release in list_releases(ref):
        names |= {source.name for source in release.manifest.sources}
    return names | set(read_tombstones(ref)["source"])


def _resolve(
    spec: SpaceSpec, ref: TableRef, request: Request
) -> tuple[frozenset[Record], tuple[str, ...]]:
    """The records, and what could not be asked of an older release."""
    records = set(named_records(request, sorted(known_sources(spec, ref))))
    notes = []
    if request.where is not None:
        releases = list_releases(ref)
        if not releases:
            raise UsageError(
                f"--where {request.where!r}: space {spec.space!r} at {spec.uri} has no release to "
                "ask; name the records with --key"
            )
        current = tagged_release(ref, spec.publish.tag) or releases[-1]
        records |= matching_records(open_version(ref, current.version), request.where)
        for release in releases:
            if release.version != current.version:
                try:
                    dataset = open_version(ref, release.version)
                    records |= matching_records(dataset, request.where)
                except UsageError as error:
                    notes.append(f"{release.name} could not be asked: {error}")
    return frozenset(records), tuple(notes)


def _unfinished(ref: TableRef) -> frozenset[bytes]:
    """Tombstones of an erasure that was killed before it had proved itself."""
    stones = read_tombstones(ref)
    if stones.is_empty():
        return frozenset()
    done = {
        name
        for event in read_events(ref, "forget")
        for name in json.loads(event["after"] or "{}").get("operations", ())
    }
    return frozenset(stones.filter(~pl.col("operation").is_in(list(done)))["hash"])
