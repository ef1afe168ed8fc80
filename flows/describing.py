"""What a build says of its clusters: words, sizes, and the rows that stand for them."""

from __future__ import annotations

from dataclasses import replace

from flows.job import Job
from flows.outcome import Made
from flows.standing import Standing
from tasks.cluster.describe import describe_build


def described(job: Job, standing: Standing, made: Made, candidate: int) -> Made:
    """`made` with what its clusters are about, from the candidate at that version."""
    if made.fit is None:
        return made
    before = None if standing.release is None else standing.release.manifest
    found = job.runner.run(
        "cluster", describe_build, job.table, candidate, made.fit, before, standing.embedder
    )
    return replace(made, clusters=tuple(found))
