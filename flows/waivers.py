"""Waivers: refusals that somebody accepted, for exactly one input.

    accept_build(spec, build, …)    writes who accepted which gates of a refused build, and why
    waive_records, waive_gates      a later build with that very input turns those verdicts into
                                    warnings that name the waiver; any other input is refused

What names an input is the hash that the refused build recorded: of the records where a validation
refused them, else of the items (`tasks.plan.input_hash`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from flows.gather import Waive
from flows.holds import refuse_blank
from flows.job import Job
from flows.outcome import Made
from flows.standing import Standing
from schemas.errors import UsageError
from schemas.manifest import AuditResult, Manifest
from schemas.refs import ItemsPart, RecordsPart, RejectsRef
from schemas.spec import SpaceSpec
from tasks.plan.input_hash import input_hash
from tasks.query.builds import find_build
from tasks.table.companions import append_event, read_events
from tasks.table.dataset import TableRef

NEVER_WAIVED = {
    "counts": "counts that do not add up mean that rows were lost or doubled: that is a fault of "
    "vecmill or of the disk, and no property of the input",
    "ids_unique": "an id that stands twice makes every later build wrong",
    "finite": "one NaN poisons every distance, and vectors are reused by later builds",
    "width": "vectors of another width belong to another model",
}
"""Gates that no reason outweighs, each with why; all others ask whether the input is as meant."""

WAYS_ON = {
    "hold": "`vecmill release-hold`, and build again",
    "changes": "`vecmill build`, and then the refit",
    "yes": "build again with --yes",
    "source": "mend the source, and build again",
}
"""Refusals that are no verdict on an input, and what ends them."""


@dataclass(frozen=True)
class Waiver:
    """The gates of one input that somebody accepted."""

    build_id: str  # that was refused
    input_hash: str
    gates: tuple[str, ...]
    reason: str
    who: str
    at: datetime


def accept_build(spec: SpaceSpec, build: str, reason: str, who: str) -> tuple[Waiver, bool]:
    """Waive the gates that refused `build` (an id or its beginning) for its very input.

    Returns the waiver in force and whether it is this one: what is accepted already stays so, and
    nothing is written. Raises `UsageError` for a build that no waiver can help.
    """
    refuse_blank(reason, "accept")
    ref = TableRef.of(spec)
    manifest = find_build(spec, build=build)
    _refuse_unwaivable(manifest)
    gates = manifest.refused_by
    for waiver in read_waivers(ref, manifest.input_hash):
        if set(gates) <= set(waiver.gates):
            return waiver, False
    append_event(
        ref,
        event="accept",
        build_id=manifest.build_id,
        input_hash=manifest.input_hash,
        refused_by=list(gates),
        reason=reason,
        who=who,
    )
    return read_waivers(ref, manifest.input_hash)[-1], True


def read_waivers(ref: TableRef, hashed: str) -> list[Waiver]:
    """The waivers of one input, in the order in which they were given."""
    return [
        Waiver(
            build_id=event["build_id"],
            input_hash=event["input_hash"],
            gates=tuple(event["refused_by"]),
            reason=event["reason"],
            who=event["who"],
            at=event["at"],
        )
        for event in read_events(ref, "accept")
        if event["input_hash"] == hashed
    ]


def waive_records(job: Job, standing: Standing) -> Waive:
    """What `gather` asks about verdicts on records: they have no items yet that could be hashed."""

    def waive(
        parts: Sequence[RecordsPart | ItemsPart],
        rejects: Sequence[RejectsRef],
        verdicts: Sequence[AuditResult],
    ) -> Sequence[AuditResult]:
        if not any(verdict.refuses for verdict in verdicts):
            return verdicts
        hashed = job.runner.run(
            *("plan", input_hash, parts, (), rejects, job.spec, standing.embedder.fingerprint)
        )
        return waived(verdicts, read_waivers(job.table, hashed))

    return waive


def waive_gates(job: Job, made: Made) -> Made:
    """`made` with those of its refusing verdicts turned into warnings that were accepted.

    Its `input_hash` must be known where a verdict refuses.
    """
    if not made.refusing:
        return made
    verdicts = waived(made.verdicts, read_waivers(job.table, made.input_hash))
    return replace(made, verdicts=tuple(verdicts))


def waived(verdicts: Sequence[AuditResult], waivers: Sequence[Waiver]) -> list[AuditResult]:
    """The verdicts, each that refuses and was accepted as a failed one that only warns."""
    by_gate = {gate: waiver for waiver in waivers for gate in waiver.gates}
    return [
        _as_warning(verdict, by_gate[verdict.name])
        if verdict.refuses and verdict.name in by_gate and verdict.name not in NEVER_WAIVED
        else verdict
        for verdict in verdicts
    ]


def _as_warning(verdict: AuditResult, waiver: Waiver) -> AuditResult:
    detail = f"accepted by {waiver.who}: {waiver.reason} ({verdict.detail})"
    return verdict.model_copy(update={"severity": "warn", "detail": detail})


def _refuse_unwaivable(manifest: Manifest) -> None:
    name, gates = f"build {manifest.build_id}", manifest.refused_by
    if manifest.published:
        raise UsageError(f"{name} was published as {manifest.release}: there is nothing to accept")
    if not gates:
        raise UsageError(
            f"{name} was not refused, it changed no row: there is nothing to accept; "
            "`vecmill versions` lists what is published"
        )
    for gate in gates:
        if (way := WAYS_ON.get(gate.partition(":")[0])) is not None:
            raise UsageError(
                f"{name} was refused by {gate}, which is no verdict on its input, so there is "
                f"nothing to accept; the way on: {way}"
            )
        if gate in NEVER_WAIVED:
            raise UsageError(
                f"{name} was refused by {gate}, which cannot be accepted: {NEVER_WAIVED[gate]}; "
                "delete the workdir and build again, and report it if it comes back"
            )
