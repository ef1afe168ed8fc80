"""What the commands on a space's history show: holds, what changed, verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schemas.manifest import AuditResult
    from tasks.query.diff import Diff
    from tasks.table.companions import Hold
    from tasks.table.releases import Release


def hold_document(hold: Hold | None) -> dict[str, Any] | None:
    """The hold for `--json`; None where builds publish."""
    return None if hold is None else {"reason": hold.reason, "who": hold.who, "at": hold.at}


def hold_in_words(space: str, hold: Hold) -> str:
    """Who holds the space, since when and why, and how it ends."""
    return (
        f"{space!r} is held by {hold.who} since {hold.at:%Y-%m-%d %H:%M}: {hold.reason}; builds do "
        "not publish until `vecmill release-hold`"
    )


def diff_document(found: Diff) -> dict[str, Any]:
    """The differences for `--json`."""
    from flows.terminal import finite

    return {
        "space": found.after.manifest.space,
        "before": _release_place(found.before),
        "after": _release_place(found.after),
        "counts": found.counts,
        "sources": [{"name": name, **counts} for name, counts in found.sources.items()],
        "columns": [vars(column) for column in found.columns],
        "examples": {
            name: [
                {**vars(each), "columns": finite({k: list(v) for k, v in each.columns.items()})}
                for each in examples
            ]
            for name, examples in found.examples.items()
        },
    }


def _release_place(release: Release) -> dict[str, Any]:
    return {
        "release": release.name,
        "version": release.version,
        "at": release.at,
        "rollback_to": release.rollback_to,
        "rows": release.manifest.counts.rows,
    }


def print_diff(found: Diff) -> None:
    """Counts by source, changed columns, and the examples of each class."""
    from flows.terminal import print_table
    from tasks.query.snippet import one_line

    heads = ["source", *(name.replace("_", "-") for name in found.counts)]
    rows = [(name, *counts.values()) for name, counts in found.sources.items()]
    if len(rows) != 1:
        rows.append(("all", *found.counts.values()))
    print(f"{found.before.name} → {found.after.name}")
    print_table(heads, rows, right=heads[1:])
    for column in found.columns:
        print(f"column {column.name}: {column.before or 'none'} → {column.after or 'none'}")
    for name, examples in found.examples.items():
        for each in examples:
            print(f"{name.replace('_', '-')}  {one_line(each.id, 120)}")
            before, after = around(each.before, each.after, SNIPPET)
            if each.before is not None and each.before != each.after:
                print(f"    - {one_line(before, SNIPPET + 1)}")
            if each.after is not None and each.before != each.after:
                print(f"    + {one_line(after, SNIPPET + 1)}")
            for column, (was, now) in each.columns.items():
                print(f"    {column}: {one_line(str(was), 60)} → {one_line(str(now), 60)}")
        if found.counts[name] > len(examples) > 0:
            print(f"    and {found.counts[name] - len(examples):,} more")


SNIPPET = 140
"""Code points of a text that one line of a diff shows."""

LEAD = 30
"""Code points that are shown of what two texts have in common before they part."""


def around(before: str | None, after: str | None, width: int) -> tuple[str, str]:
    """Two texts from a little before the place where they part, at most `width` long."""
    old, new = before or "", after or ""
    shared = next(
        (i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b),
        min(len(old), len(new)),
    )
    start = max(shared - LEAD, 0) if before is not None and after is not None else 0
    dots = "…" if start else ""
    return _shortened(f"{dots}{old[start:]}", width), _shortened(f"{dots}{new[start:]}", width)


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def audit_document(release: Release, verdicts: Sequence[AuditResult]) -> dict[str, Any]:
    """The verdicts on a release for `--json`."""
    return {
        "space": release.manifest.space,
        "release": release.name,
        "version": release.version,
        "passed": not any(verdict.refuses for verdict in verdicts),
        "audits": [verdict.model_dump(mode="json") for verdict in verdicts],
    }


def print_audits(release: Release, verdicts: Sequence[AuditResult]) -> None:
    """Each gate with its verdict; what did not pass says why below."""
    from flows.terminal import print_table

    print(f"{release.manifest.space} {release.name}, version {release.version}")
    print_table(
        ["gate", "verdict", "value", "limit"],
        [(v.name, verdict_word(v), _figure(v.value), _figure(v.threshold)) for v in verdicts],
        right=["value", "limit"],
    )
    for verdict in verdicts:
        if not verdict.passed:
            print(f"{verdict_word(verdict)} {verdict.name}: {verdict.detail}")


def verdict_word(verdict: AuditResult) -> str:
    """`passed`, `warning` or `FAILED`."""
    return "passed" if verdict.passed else "FAILED" if verdict.refuses else "warning"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}"
