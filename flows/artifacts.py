"""What a flow run shows in the Prefect UI: counts, audits and where the report lies."""

from __future__ import annotations

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.outcome import Outcome


def leave_artifacts(outcome: Outcome) -> None:
    """Leave the outcome's counts, audits and report with the current flow run."""
    manifest = outcome.manifest
    key = manifest.space.replace("_", "-").strip("-")
    counts = manifest.counts.model_dump()
    duplicates = counts.pop("duplicates")
    rows = [{"count": name.replace("_", " "), "value": value} for name, value in counts.items()]
    rows += [{"count": f"{kind} duplicates", "value": n} for kind, n in duplicates.items()]
    create_table_artifact(rows, key=f"{key}-counts", description=outcome.message)
    audits = [
        {
            "audit": audit.name,
            "verdict": "passed" if audit.passed else audit.severity,
            "value": audit.value,
            "threshold": audit.threshold,
            "detail": audit.detail,
        }
        for audit in manifest.audits
    ]
    if audits:
        create_table_artifact(audits, key=f"{key}-audits", description=outcome.message)
    create_markdown_artifact(_summary(outcome), key=f"{key}-report", description="How it ended")


def _summary(outcome: Outcome) -> str:
    manifest = outcome.manifest
    counts = manifest.counts
    lines = [
        f"# {manifest.space}: {manifest.release or 'no release'}",
        "",
        outcome.message,
        "",
        f"- records: {counts.records:,} = {counts.records_used:,} used "
        f"+ {counts.records_rejected:,} rejected",
        f"- items: {counts.items:,} = {counts.rows:,} rows + {counts.items_rejected:,} rejected",
        f"- embedded: {counts.embedded:,} contents; reused: {counts.reused:,} vectors",
        f"- took {manifest.timings.total:,.1f} s",
    ]
    if outcome.report:
        lines += ["", f"The report, one HTML page: `{outcome.report}`"]
    return "\n".join(lines)
