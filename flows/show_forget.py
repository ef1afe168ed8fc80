"""What `vecmill forget` prints for people: the records, and where they are."""

from __future__ import annotations

from tasks.erase.find import Found
from tasks.query.snippet import one_line

SHOWN = 20
"""Records, releases and files that are named; the others are counted."""


def print_found(found: Found) -> None:
    """The records that go, and everything that goes with them."""
    names = sorted(f"{source}:{key}" for source, key in found.asked.records)
    holding, staged = found.holding, found.staged
    print(f"{len(names):,} records, {holding.records:,} of them with rows in some version:")
    _print_some([one_line(name, 120) for name in names])
    if found.asked.unfinished:
        print(f"    and {len(found.asked.unfinished):,} of an erasure that was not finished")
    print(f"{holding.rows:,} rows leave the release that readers get")
    print(f"{len(holding.releases):,} releases held them and are retired:")
    because = {"rows": "", "deleted rows": ": rows that left it are still in its files"}
    because |= {"index": ": its index may hold their words", "manifest": ": a verdict names one"}
    _print_some(
        [
            f"{each.name}{because[each.why]}" + (f", {each.rows:,} rows" if each.rows else "")
            for each in holding.releases
        ]
    )
    print(f"{found.rejects.rows:,} rejects go, and {len(staged.going):,} staged files:")
    _print_some([str(path) for path in staged.going])
    for note in found.notes:
        print(f"note: {note}")
    if found.nowhere and names:
        print("nothing of them was found: a tombstone keeps them out beforehand")


def _print_some(lines: list[str]) -> None:
    for line in lines[:SHOWN]:
        print(f"    {line}")
    if len(lines) > SHOWN:
        print(f"    and {len(lines) - SHOWN:,} more")
