"""Any mix of builds, rollbacks, holds and kills: numbers unique, `prod` is what the model says."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.publish.publish import publish
from tasks.table.companions import current_hold, release_hold
from tasks.table.reconcile import finish_rollback, reconcile
from tasks.table.releases import list_releases, tagged_release
from tasks.table.rollback import begin_rollback

KILLS = {
    "after the hold": "tasks.table.rollback.append_event",
    "after the intent": "tasks.table.rollback._restore",
    "after the commit": "tasks.table.reconcile._create_tag",
    "after the data tag": "tasks.table.reconcile.last_with_same_rows",
    "after the release tag": "tasks.table.reconcile._finished",
}
"""Where a rollback, or (from the commit on) a build is killed."""

CONTENT = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("xyz"), min_size=1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("build"), CONTENT, st.sampled_from([None, *list(KILLS)[2:]])),
        st.tuples(st.just("rollback"), st.integers(1, 9), st.sampled_from([None, *KILLS])),
        st.tuples(st.just("release-hold"), st.none(), st.none()),
        st.tuples(st.just("reconcile"), st.none(), st.none()),
    ),
    min_size=2,
    max_size=9,
)

number = count()


class Killed(BaseException):
    """The process ends here."""


def killed(point: str | None, action: Callable[[], object]) -> None:
    """Run the action, and end it at that point."""
    if point is None:
        action()
        return
    with mock.patch(KILLS[point], side_effect=Killed), pytest.raises(Killed):
        action()


def build(space, content: dict[str, str], kill: str | None) -> None:
    candidate, manifest = space.stage(content)
    killed(kill, lambda: publish(candidate, manifest))


def roll_back(space, to: int, kill: str | None) -> None:
    name = f"rollback{next(number)}"
    standing = reconcile(space.ref, "prod", current_hold(space.ref) is not None)
    target = tagged_release(space.ref, f"v{to:04}")

    def roll() -> None:
        begun = begin_rollback(space.ref, name, target, standing, "prod", "why", "ada")
        finish_rollback(space.ref, begun)

    killed(kill, roll)


def settle(space) -> None:
    """What the command `release-hold` does; the whole of it also where nothing is held."""
    held = current_hold(space.ref) is not None
    reconcile(space.ref, "prod", held)
    if held:
        release_hold(space.ref, "", "ada")
        reconcile(space.ref, "prod")


def check(space) -> None:
    """Numbers are unique and grow with the versions; each release has its own manifest."""
    releases = list_releases(space.ref)
    assert len({r.manifest.build_id for r in releases}) == len(releases)
    versions = [(r.data_version, r.version) for r in releases]
    assert versions == sorted(versions)
    ends = [version for pair in versions for version in pair]
    assert ends == sorted(ends)
    for release in releases:
        assert release.manifest.counts.problems() == []
        assert release.manifest.counts.rows == len(space.content(release.name))


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_any_history_of_builds_and_rollbacks(new_space, steps):
    space = new_space(f"any{next(number)}")
    space.root.mkdir()
    model = {"a": "x"}  # what prod holds when everything that was begun is finished
    space.publish(model)
    for what, value, kill in steps:
        held = current_hold(space.ref) is not None
        if what == "build" and not held and value != model:
            build(space, value, kill)
            model = value
        elif what == "rollback":
            known = [release.number for release in list_releases(space.ref)]
            to = known[value % len(known)]
            content = space.content(f"v{to:04}")
            roll_back(space, to, kill)
            model = model if kill == "after the hold" else content
        elif what == "release-hold":
            settle(space)
        elif what == "reconcile":
            reconcile(space.ref, "prod", held)
            assert space.content() == model
    check(space)
    settle(space)
    assert space.content() == model
    check(space)
    last = space.publish({"z": "the last"})
    assert space.content() == {"z": "the last"}
    assert space.tags()["prod"] == last.version
