"""How rejects are told: by reason with examples, each with the place of the original."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.outcome import Outcome
    from schemas.manifest import Manifest
    from tasks.query.rejects import RejectGroup


def reject_document(manifest: Manifest, groups: Sequence[RejectGroup]) -> dict[str, Any]:
    """The rejects of a build for `--json`; `attempts` of an example is how often it was tried."""
    return {
        "space": manifest.space,
        "build_id": manifest.build_id,
        "release": manifest.release,
        "published": manifest.published,
        "records_rejected": manifest.counts.records_rejected,
        "items_rejected": manifest.counts.items_rejected,
        "reasons": reason_documents(groups),
    }


def reason_documents(groups: Sequence[RejectGroup]) -> list[dict[str, Any]]:
    """Each reason with its count and examples."""
    return [
        {
            "stage": group.stage,
            "level": group.level,
            "reason": group.reason,
            "meaning": group.meaning,
            "retriable": group.retriable,
            "count": group.count,
            "examples": [vars(example) for example in group.examples],
        }
        for group in groups
    ]


def retry_document(
    outcome: Outcome, healed: Sequence[RejectGroup], stays: Sequence[RejectGroup]
) -> dict[str, Any]:
    """A retry for `--json`: `healed` are rejected no more, `reasons` is what the build rejects."""
    return {
        **reject_document(outcome.manifest, stays),
        "refused_by": list(outcome.manifest.refused_by),
        "healed": reason_documents(healed),
    }


def print_rejects(groups: Sequence[RejectGroup]) -> None:
    """Each reason with its count and meaning, and examples below it."""
    from tasks.query.snippet import one_line

    for group in groups:
        level = group.level if group.count == 1 else f"{group.level}s"
        print(f"{group.reason}  {group.count:,} {level}, stage {group.stage}: {group.meaning}")
        for example in group.examples:
            place = example.uri if example.position is None else f"{example.uri}:{example.position}"
            name = example.id or f"{example.source}:{example.key if example.key else '(no key)'}"
            tried = f" ({ordinal(example.attempts)} attempt)" if example.attempts > 1 else ""
            print(f"    {one_line(name, 80)}  {one_line(example.detail, 160)}{tried}")
            print(f"        in {one_line(place, 200)}")
        if group.count > len(group.examples):
            print(f"    and {group.count - len(group.examples):,} more")


def print_retry(healed: Sequence[RejectGroup], stays: Sequence[RejectGroup]) -> None:
    """What is rejected no more, and what is still of all that a retry tries."""
    if healed:
        print(f"rejected no more: {_count(healed):,}")
        print_rejects(healed)
    if stays:
        print(f"rejected still: {_count(stays):,}")
        print_rejects(stays)


def untried_in_words(groups: Sequence[RejectGroup]) -> str | None:
    """Why some rejects were not tried again; None where there are none of that kind."""
    left = [group for group in groups if not group.retriable]
    if not left:
        return None
    reasons = ", ".join(sorted({group.reason for group in left}))
    return (
        f"not tried: {_count(left):,} that change only with the record, the spec or the suite "
        f"({reasons})"
    )


def lost_in_words(manifest: Manifest, none_kept: bool) -> str | None:
    """Why rejects that a build counted are not listed; None where there is nothing to say."""
    counted = manifest.counts.records_rejected + manifest.counts.items_rejected
    if not (counted and none_kept):
        return None
    return (
        f"the {counted:,} rejects of build {manifest.build_id} are not kept any more: "
        "`vecmill maintain` keeps those of releases and of the newest builds, and `forget` takes "
        "out those of its records; `vecmill rejects` without --build shows the latest"
    )


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, … 11th, … 21st."""
    last = number % 10 if number % 100 not in (11, 12, 13) else 0
    return f"{number:,}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"


def _count(groups: Sequence[RejectGroup]) -> int:
    return sum(group.count for group in groups)
