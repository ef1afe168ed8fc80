"""The headline of a report: what became of the build, and the way on."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.manifest import Manifest


@dataclass(frozen=True)
class Verdict:
    """`tone` is good, bad or calm; `reasons` are the verdicts that refused."""

    tone: str
    title: str
    text: str
    reasons: tuple[str, ...] = ()
    way_on: str = ""


def verdict(manifest: Manifest) -> Verdict:
    """The verdict on a build, from its manifest alone."""
    counts = manifest.counts
    if manifest.published:
        return Verdict(
            "good",
            f"Published {manifest.release}",
            f"Readers of “{manifest.tag}” see {counts.rows:,} rows.",
        )
    if manifest.refused_by:
        return Verdict(
            "bad",
            "Refused by " + " and ".join(manifest.refused_by),
            "Nothing was published. " + _standing(manifest),
            tuple(f"{audit.name}: {audit.detail}" for audit in manifest.audits if audit.refuses),
            _way_on(manifest.refused_by),
        )
    if manifest.release is not None:
        return Verdict(
            "calm", f"Nothing to do: {manifest.release} stands", "The sources did not change."
        )
    return Verdict("calm", "Not published", "Nothing was published. " + _standing(manifest))


def _standing(manifest: Manifest) -> str:
    if manifest.base_release is None:
        return f"There is no earlier release; the tag “{manifest.tag}” does not exist yet."
    return f"“{manifest.tag}” still names {manifest.base_release}; readers noticed nothing."


def _way_on(refused_by: tuple[str, ...]) -> str:
    """The next step for the gates that refused: first data, then limits."""
    if any(name.startswith("max_reject_share") for name in refused_by):
        return (
            "Look at the rejects below, correct the source and build again; if they are to be "
            "left out, raise expectations.max_reject_share in the spec."
        )
    if any(name.startswith("expectation:") for name in refused_by):
        return "Correct the records named below, or change the expectation suite, and build again."
    if any(name.startswith("source:") for name in refused_by):
        return "Look at the path of that source in the spec: it must be readable and not empty."
    if any(name.startswith("max_shrink") for name in refused_by):
        return (
            "If those records are really gone, raise max_shrink of the source for one build; else "
            "put them back and build again."
        )
    if "yes" in refused_by:
        return "Run the build again with --yes if embedding that much is what you want."
    return (
        "Look at the rows and audits named below, correct the source and build again; a gate can "
        "be made a warning under “audit” in the spec."
    )
