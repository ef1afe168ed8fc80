"""The manifest of a release that forgets: every count less what the records were."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version

from schemas.manifest import Counts, DuplicateCounts, Manifest
from schemas.reasons import Reason
from tasks.erase.companions import HeldRejects
from tasks.erase.rows import Stays
from tasks.table.releases import Release

GAVE_WAY = (Reason.REPEATED_KEY, Reason.SUPERSEDED)
"""Reasons of a record that gave way to another of its key."""


def manifest_without(
    prod: Release, rejects: HeldRejects, stays: Stays, operation: str, tag: str
) -> Manifest:
    """The manifest of `prod`'s content without the records: every count less what they were."""
    old = prod.manifest
    mine = rejects.by_build.get(old.build_id, ())
    rejected, repeated = Counter[str](), Counter[str]()
    for source, level, reason, count in mine:
        rejected[source] += count if level == "record" else 0
        repeated[source] += count if reason in GAVE_WAY else 0
    items = sum(count for _, level, _, count in mine if level == "item")
    # of a record whose items were all rejected there is no row, but it was used
    used = Counter(source for source, _ in stays.records | rejects.items.get(old.build_id, set()))
    counts = old.counts
    gone_items = stays.removed + items
    records_rejected = counts.records_rejected - rejected.total()
    records_used = counts.records_used - used.total()
    sources = tuple(
        each.model_copy(
            update={
                "records": max(0, each.records - used[each.name] - rejected[each.name]),
                "repeated": max(0, each.repeated - repeated[each.name]),
            }
        )
        for each in old.sources
    )
    return old.model_copy(
        update={
            "build_id": operation,
            "release": None,
            "version": None,
            "published": False,
            "tag": tag,
            "base_release": prod.name,
            "input_hash": "",
            "audits": (),
            "sources": sources,
            "code_version": version("vecmill"),
            "counts": Counts(
                records=records_used + records_rejected,
                records_used=records_used,
                records_rejected=records_rejected,
                items=counts.items - gone_items,
                items_rejected=counts.items - gone_items - stays.rows,
                rows=stays.rows,
                rejudged=stays.rejudged,
                unchanged=stays.rows - stays.rejudged,
                removed=stays.removed,
                truncated=min(counts.truncated, stays.rows),
                duplicates=DuplicateCounts(**stays.duplicates),
            ),
        }
    )
