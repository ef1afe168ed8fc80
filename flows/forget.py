"""Forgetting: whole records leave the table, its history, the companions and the staged files.

    sweep       what the dead left, and finish what they committed
    resolve     what is asked → records (source, key)
    look        where they are: data files, releases, rejects, staged files
    tombstones  hashes of `source:key`: from here on no build brings them back
    log         verdicts that name a key are blanked
    workdir     vectors, then every file that holds one of them
    table       a new release without them, in files written anew; releases that held them retired
    rejects     theirs are deleted
    clusters    named again, by the texts that are left
    clean       old versions and whatever no version refers to
    prove       what is left on disk is read and searched

Killed anywhere, running it again finishes it: tombstones without a `forget` event are taken up by
whoever forgets next. Without `--yes` nothing is written.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from flows.outcome import FAILED, PUBLISHED, REFUSED, WRONG
from flows.rollback import finish_standing
from flows.sweeping import sweep
from schemas.manifest import Timings
from schemas.spec import SpaceSpec
from tasks.cluster.describe import describe_again
from tasks.erase.asked import Request
from tasks.erase.companions import (
    blank_builds,
    clean_companions,
    drop_held_rejects,
    others,
)
from tasks.erase.find import Found, find, known_sources
from tasks.erase.manifest import manifest_without
from tasks.erase.proof import Proof, prove
from tasks.erase.rows import Stays, clean, erase_rows, refuse_bases, release_bases, retire
from tasks.erase.staged import sweep_staged
from tasks.publish.publish import manifest_properties
from tasks.store.leases import BusyError, HeldLease, hold_alone, living_leases
from tasks.table.clusters import blank_clusters
from tasks.table.companions import (
    append_build,
    append_event,
    copy_rejects,
    drop_rejects,
)
from tasks.table.dataset import TableRef, open_version, try_open
from tasks.table.fits import drop_anchors
from tasks.table.releases import Release, list_releases
from tasks.table.tombstones import append_tombstones, read_tombstones
from tasks.table.transaction import Base


@dataclass(frozen=True)
class Forgetting:
    """How it ended. `document` is what `--json` prints."""

    exit_code: int
    message: str
    found: Found
    document: dict[str, Any] = field(default_factory=dict)


def forget_records(spec: SpaceSpec, request: Request, *, yes: bool, who: str) -> Forgetting:
    """Erase what is asked; without `yes` only say what would go.

    Raises `UsageError` for a wrong request, `BusyError` while a build (of any space that shares the
    `workdir`, or of this one elsewhere) or another maintenance is at work.
    """
    ref = TableRef.of(spec)
    request.check(known_sources(spec, ref))
    if not yes:
        found = find(spec, ref, request)
        code = WRONG if found.release is None else REFUSED
        return _ended(spec, found, code, _proposal(spec, found))
    operation = secrets.token_hex(8)
    with hold_alone(spec.workdir, operation, spec.space, "forget") as lease:
        _refuse_neighbours(spec, operation)
        sweep(spec.workdir, ref, operation)
        release_bases(ref, set(read_tombstones(ref)["operation"]))
        refuse_bases(ref)
        finish_standing(spec, by="forget")  # its record, too, while its version is there
        found = find(spec, ref, request)
        if found.holding.strangers:
            return _ended(spec, found, REFUSED, _blocked(spec, found))
        return _erase(spec, ref, request, found, lease, operation, who)


def _refuse_neighbours(spec: SpaceSpec, operation: str) -> None:
    """Raise `BusyError` while another space is at work in the `workdir`, whose files may go."""
    others = [lease for lease in living_leases(spec.workdir) if lease.name != operation]
    if others:
        raise BusyError(
            f"forget of space {spec.space!r}: {', '.join(map(str, others))} is at work in "
            f"{spec.workdir}, for space {others[0].space!r}, whose staged files may have to go; "
            "expected nobody: wait until it has ended and run again"
        )


def _erase(
    spec: SpaceSpec,
    ref: TableRef,
    request: Request,
    found: Found,
    lease: HeldLease,
    operation: str,
    who: str,
) -> Forgetting:
    """Every step, in the order that survives a kill: keys are needed before they are gone."""
    clock = time.perf_counter()
    asked = found.asked
    if not asked.hashes:
        return _ended(spec, found, PUBLISHED, f"no record of {spec.space!r} matches: nothing to do")
    written = append_tombstones(ref, asked.records, operation, who, request.reason)
    blanked = blank_builds(ref, asked)
    contents = found.holding.contents | found.staged.contents
    kept = _kept_contents(ref, found, contents)
    vectors = sweep_staged(spec.workdir, found.staged, contents, kept)
    lease.check()
    release = _publish(spec, ref, found, operation, clock) if _must_publish(found) else None
    lease.check()
    if try_open(ref) is not None:
        retire(ref, found.held)
        clean(ref)
    drop_held_rejects(ref, asked)
    anchors = drop_anchors(ref, contents - kept)
    _describe_again(ref, release or found.release)
    clean_companions(ref)
    texts = [*found.holding.texts, *found.staged.texts]
    proof = prove(ref, spec.workdir, asked, texts, contents, kept)
    figures = {
        "records": len(asked.hashes),
        "rows_removed": found.holding.rows,
        "tombstones": written,
        "release": release.name if release else None,
        "retired": sorted(found.held),
        "rejects_removed": found.rejects.rows,
        "verdicts_blanked": blanked,
        "files_removed": len(found.staged.going),
        "vectors_removed": vectors,
        "anchors_removed": anchors,
        "seconds": round(time.perf_counter() - clock, 3),
    }
    if proof.findings:
        return _ended(spec, found, FAILED, _not_proved(spec, proof), figures, proof)
    _record(ref, request, operation, who, figures, proof)
    return _ended(spec, found, PUBLISHED, _done(spec, figures, proof), figures, proof)


def _describe_again(ref: TableRef, release: Release | None) -> None:
    """Name the clusters of what stands by the texts that are left; of other builds no word stays.

    Terms may come from a text that is to be forgotten, and be carried on long after it left.
    """
    if try_open(ref.companion("clusters")) is not None:
        records = [] if release is None else describe_again(ref, release)
        blank_clusters(ref, "" if release is None else release.manifest.build_id, records)


def _record(
    ref: TableRef,
    request: Request,
    operation: str,
    who: str,
    figures: dict[str, Any],
    proof: Proof,
) -> None:
    """Write the event: with it this erasure, and every one before it, is finished."""
    operations = sorted({operation, *read_tombstones(ref)["operation"]})
    after = {**figures, "operations": operations, "proof": proof.figures()}
    append_event(
        ref,
        event="forget",
        build_id=operation,
        release=figures["release"],
        who=who,
        reason=request.reason,
        after=json.dumps(after),
    )


def _must_publish(found: Found) -> bool:
    """Whether the release that readers get holds something."""
    return found.release is not None and found.release.name in found.held


def _kept_contents(ref: TableRef, found: Found, contents: frozenset[bytes]) -> frozenset[bytes]:
    """The contents that a published row which stays has, too."""
    if found.release is None or not contents:
        return frozenset()
    dataset = open_version(ref, found.release.version)
    rows = pl.DataFrame(dataset.to_table(columns=["id", "content_hash"]))
    rows = rows.filter(pl.col("content_hash").is_in(list(contents)))
    return frozenset(rows.filter(~found.asked.named(rows["id"]))["content_hash"])


def _publish(spec: SpaceSpec, ref: TableRef, found: Found, operation: str, clock: float) -> Release:
    """The new release and its record; readers of the tag get it from here on."""
    prod, tag = found.release, spec.publish.tag
    assert prod is not None

    def properties(base: Base, stays: Stays) -> dict[str, str]:
        seconds = time.perf_counter() - clock
        now = datetime.now(UTC)
        manifest = manifest_without(prod, found.rejects, stays, operation, tag).model_copy(
            update={
                "started_at": now - timedelta(seconds=seconds),
                "finished_at": now,
                "timings": Timings(publish=seconds, total=seconds),
            }
        )
        return manifest_properties(manifest, base.release + 1)

    retire(ref, frozenset())  # a data tag of an erasure that was killed before its release
    copy_rejects(ref, prod.manifest.build_id, operation, others(found.asked))
    files = frozenset(found.holding.files)
    try:
        release = erase_rows(ref, operation, found.asked, files, prod, tag, properties)
    except Exception:
        if all(each.manifest.build_id != operation for each in list_releases(ref)):
            drop_rejects(ref, operation)
        raise
    append_build(ref, release.manifest)
    return release


# --- what is said ------------------------------------------------------------------------------


def _ended(
    spec: SpaceSpec,
    found: Found,
    code: int,
    message: str,
    figures: dict[str, Any] | None = None,
    proof: Proof | None = None,
) -> Forgetting:
    document = {
        "space": spec.space,
        "done": code == PUBLISHED and figures is not None,
        "found": {
            "records": sorted(f"{source}:{key}" for source, key in found.asked.records),
            "unfinished": len(found.asked.unfinished),
            "records_with_rows": found.holding.records,
            "rows": found.holding.rows,
            "releases": [vars(release) for release in found.holding.releases],
            "blocking_tags": found.holding.strangers,
            "rejects": found.rejects.rows,
            "files": [str(path) for path in found.staged.going],
        },
        "notes": list(found.notes),
        "erased": figures,
        "proof": None
        if proof is None
        else {**proof.figures(), "findings": proof.findings, "holds": not proof.findings},
    }
    return Forgetting(code, message, found, document)


def _proposal(spec: SpaceSpec, found: Found) -> str:
    if not found.asked.hashes:
        return f"no record of {spec.space!r} matches; nothing was written"
    if found.holding.strangers:
        return _blocked(spec, found)
    return "nothing was written; if that is meant, run again with --yes: it cannot be undone"


def _blocked(spec: SpaceSpec, found: Found) -> str:
    tags = ", ".join(f"{name!r} (version {v})" for name, v in found.holding.strangers.items())
    return (
        f"tags of your own keep what is to be forgotten from {spec.space!r}: {tags}; delete them "
        f"or move them to a release that stays (`lance.dataset(…).tags`) and run again. Nothing "
        "was written"
    )


def _done(spec: SpaceSpec, figures: dict[str, Any], proof: Proof) -> str:
    release = f"{figures['release']} published, " if figures["release"] else ""
    retired = f"retired {', '.join(figures['retired'])}; " if figures["retired"] else ""
    return (
        f"forgot {figures['records']:,} records of {spec.space!r} ({figures['rows_removed']:,} "
        f"rows): {release}{retired}{figures['files_removed']:,} staged files removed. Looked at "
        f"{proof.rows + proof.staged_rows:,} rows and {proof.bytes:,} bytes in {proof.files:,} "
        "files that are left: nothing of them is there"
    )


def _not_proved(spec: SpaceSpec, proof: Proof) -> str:
    shown = "; ".join(proof.findings[:5])
    more = f" (and {len(proof.findings) - 5} more)" if len(proof.findings) > 5 else ""
    return (
        f"space {spec.space!r}: something of what was to be forgotten is still on disk: "
        f"{shown}{more}; expected nothing. Nobody else may write there meanwhile: run forget again"
    )
