"""The audit of a release after the fact: what it must be says its own manifest."""

from __future__ import annotations

from schemas.manifest import AuditResult, Manifest
from schemas.spec import SpaceSpec
from tasks.audit.fit import audit_fit, audit_fitted
from tasks.audit.gates import Expected
from tasks.audit.release import audit_release
from tasks.query.releases import find_release
from tasks.table.dataset import TableRef
from tasks.table.fits import read_fit
from tasks.table.releases import Release


def audit_space(spec: SpaceSpec, name: str | None = None) -> tuple[Release, list[AuditResult]]:
    """The verdicts on release or tag `name` (None: the spec's tag); nothing is written.

    A gate that failed when the release was published, and was accepted, warns here too.
    """
    release = find_release(spec, name)
    manifest = release.manifest
    said = manifest.resolved_spec
    wanted = said.get("audit", {}).get("quality", "refuse")
    verdicts = audit_release(
        TableRef.of(spec),
        release.version,
        Expected(
            manifest.counts,
            manifest.embedder.dimensions,
            said.get("embedder", {}).get("normalize", True),
        ),
        source_columns(manifest),
        "refuse" if wanted == "off" else wanted,
    )
    if manifest.fit_id is not None:
        verdicts += _audit_fitted(TableRef.of(spec), release)
    accepted = {audit.name: audit for audit in manifest.audits if not audit.passed}
    return release, [
        accepted[verdict.name]
        if verdict.refuses and verdict.name in accepted and not accepted[verdict.name].refuses
        else verdict
        for verdict in verdicts
    ]


def _audit_fitted(ref: TableRef, release: Release) -> list[AuditResult]:
    """The verdicts on the release's fit and on what its rows have of it."""
    fit = read_fit(ref, str(release.manifest.fit_id))
    reach = audit_fit(ref, release.version, fit)
    return [*reach, audit_fitted(ref, release.version, fit)]


def source_columns(manifest: Manifest) -> dict[str, list[str]]:
    """Source → the names that its own columns have in the table, by the release's spec."""
    return {
        source["name"]: [_name(column) for column in source.get("columns") or []]
        for source in manifest.resolved_spec.get("sources", [])
        if "name" in source
    }


def _name(column: object) -> str:
    if isinstance(column, dict):
        return str(column.get("as") or column["name"])
    return str(column)
