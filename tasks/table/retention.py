"""Retention: which releases stay, and taking the tags from the others.

    kept = the newest `keep`  +  those that `prod` or a user's tag names
           + all since the oldest base of a build under way  +  those replaced a moment ago

A retired release loses `v0007` first and `data-v0007` then: between the two nobody lists it, and
whoever comes next finds the second one left over. Its files go with the next cleanup.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.table.dataset import TableRef, open_main, read_tags
from tasks.table.releases import (
    BASE_PREFIX,
    DATA_PREFIX,
    RELEASE_TAG,
    release_at,
    release_name,
    release_versions,
)


def kept_releases(tags: dict[str, Any], keep: int | None, grace: timedelta) -> dict[int, str]:
    """Number of each release that stays → why; `keep` None keeps all."""
    numbers = list(release_versions(tags))
    if keep is None:
        return dict.fromkeys(numbers, "all are kept")
    kept = dict.fromkeys(numbers[-keep:], f"one of the newest {keep}")
    for number, why in _replaced_lately(tags, numbers, grace):
        kept.setdefault(number, why)
    for name, each in tags.items():
        number = release_at(tags, int(each["version"]))
        if number is None or _of_release(name):
            continue
        if name.startswith(BASE_PREFIX):
            # its build may be finishing a release after that one
            for later in numbers:
                if later >= number:
                    kept.setdefault(later, "a build under way began there")
        else:
            kept[number] = kept.get(number) or f"tag {name!r}"
    return dict(sorted(kept.items()))


def retire(
    ref: TableRef, keep: int | None, grace: timedelta, check: Callable[[], None]
) -> list[str]:
    """Take the tags from every release that need not stay; returns their names, oldest first.

    `check` is called before each. A release whose retirement was killed half-way is finished.
    """
    dataset = open_main(ref)
    tags = read_tags(dataset)
    kept = kept_releases(tags, keep, grace)
    retired = [release_name(number) for number in release_versions(tags) if number not in kept]
    for name in retired:
        check()
        _drop(dataset, [name, f"{DATA_PREFIX}{name}"])
    _drop(dataset, _left_over(tags))
    return retired


def _left_over(tags: dict[str, Any]) -> list[str]:
    """Data tags of releases that have lost their own.

    A newer one's is still to come, and so is one's that a build under way commits while a rollback
    is finished above it: its indexes come between the two tags.
    """
    newest = max(release_versions(tags), default=0)
    bases = [int(tag["version"]) for name, tag in tags.items() if name.startswith(BASE_PREFIX)]
    found = []
    for name in tags:
        release = name.removeprefix(DATA_PREFIX)
        match = RELEASE_TAG.match(release) if name != release else None
        if match is None or release in tags or int(match[1]) >= newest:
            continue
        if not any(base < int(tags[name]["version"]) for base in bases):
            found.append(name)
    return found


def _of_release(name: str) -> bool:
    return RELEASE_TAG.match(name.removeprefix(DATA_PREFIX)) is not None


def _replaced_lately(
    tags: dict[str, Any], numbers: list[int], grace: timedelta
) -> Iterable[tuple[int, str]]:
    """Releases whose successor is younger than `grace`: readers may be in the middle of them."""
    now = datetime.now(UTC)
    for number, successor in itertools.pairwise(numbers):
        if now - tags[release_name(successor)]["created_at"] < grace:
            yield number, "replaced a moment ago"


def _drop(dataset: Any, names: Iterable[str]) -> None:
    for name in names:
        try:
            dataset.tags.delete(name)
        except ValueError as error:
            if "does not exist" not in str(error):
                raise
