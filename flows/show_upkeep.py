"""What `maintain` prints: what was done, and bytes before and after."""

from __future__ import annotations

from flows.terminal import print_table, say
from flows.upkeep import UpkeepReport


def print_upkeep(report: UpkeepReport) -> None:
    """Two tables on stdout; what was left undone on stderr."""
    print_table(["done", "what"], _done(report), wrap=["what"])
    print()
    print_table(["bytes", "before", "after"], _sizes(report), right=["before", "after"])
    for line in report.left:
        say(f"left undone: {line}")


def _done(report: UpkeepReport) -> list[tuple[str, str]]:
    tables, compacted = report.tables, report.tables.compacted
    retired = tables.retired
    span = f": {retired[0]}" + (f" to {retired[-1]}" if len(retired) > 1 else "") if retired else ""
    return [
        ("swept", str(report.swept) if report.swept else "nobody died here"),
        ("releases retired", f"{len(retired)}{span} ({tables.releases} stay)"),
        ("indexes", ", ".join(tables.indexes) or "nothing was due"),
        (
            "compaction",
            f"{compacted.removed} fragments became {compacted.added}"
            if compacted
            else "nothing was due",
        ),
        ("versions removed", f"{tables.versions_removed:,}"),
        ("old rejects removed", f"{tables.rejects_removed:,}"),
        ("old fits removed", f"{tables.fits_removed:,}"),
        (
            "workdir",
            f"{report.expired.files:,} unused files removed, "
            f"{report.vector_files_merged:,} vector files merged",
        ),
    ]


def _sizes(report: UpkeepReport) -> list[tuple[str, str, str]]:
    before, after = report.before, report.after
    return [
        (name, _bytes(getattr(before, name)), _bytes(getattr(after, name)))
        for name in ("table", "companions", "workdir")
    ]


def _bytes(size: int | None) -> str:
    return "–" if size is None else f"{size:,}"
