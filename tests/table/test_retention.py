"""Which releases stay, from the tags alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.table.retention import _left_over, kept_releases

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


def tags_of(releases: int, age: timedelta = HOUR, **more: int) -> dict:
    """Releases of three versions each: data commit, index, finished at 3, 6, 9 …"""
    made = {"created_at": NOW - age, "updated_at": NOW - age}
    tags = {}
    for number in range(1, releases + 1):
        tags[f"v{number:04}"] = {"version": 3 * number, **made}
        tags[f"data-v{number:04}"] = {"version": 3 * number - 2, **made}
    tags["prod"] = {"version": 3 * releases, **made}
    return tags | {name.replace("_", "-"): {"version": at, **made} for name, at in more.items()}


@pytest.mark.parametrize(
    ("more", "keep", "kept"),
    [
        pytest.param({}, 2, [7, 8], id="the newest"),
        pytest.param({}, 20, [1, 2, 3, 4, 5, 6, 7, 8], id="more than there are"),
        pytest.param({}, None, [1, 2, 3, 4, 5, 6, 7, 8], id="all"),
        pytest.param({"prod": 9}, 2, [3, 7, 8], id="what readers get"),
        pytest.param({"best": 12}, 2, [4, 7, 8], id="a user's tag"),
        pytest.param({"best": 10}, 2, [4, 7, 8], id="a tag on the data commit"),
        pytest.param({"best": 11}, 1, [4, 8], id="a tag on an index commit"),
        pytest.param({"base_ab12": 15}, 1, [5, 6, 7, 8], id="a build under way"),
        pytest.param({"data_v0000": 2}, 1, [8], id="a data tag is nobody's"),
    ],
)
def test_kept(more, keep, kept):
    assert list(kept_releases(tags_of(8, **more), keep, timedelta(minutes=10))) == kept


def test_a_release_that_readers_may_be_in_stays_for_a_moment():
    tags = tags_of(8)
    tags["v0008"]["created_at"] = datetime.now(UTC)  # the seventh was the newest until now
    assert list(kept_releases(tags, 1, timedelta(minutes=10))) == [7, 8]
    assert list(kept_releases(tags, 1, timedelta(0))) == [8]


def test_why_a_release_stays():
    why = kept_releases(tags_of(4, best=6), 1, timedelta(0))
    assert why == {2: "tag 'best'", 4: "one of the newest 1"}


def test_a_build_that_a_rollback_overtook_keeps_the_tag_of_its_commit():
    """It is at its indexes: `data-v0004` is there, `v0004` is to come; 5 is the rollback."""
    tags = tags_of(5)
    del tags["v0004"]
    assert _left_over(tags) == ["data-v0004"]
    assert _left_over({**tags, "base-ab12": {**tags["v0003"]}}) == []
    assert _left_over({**tags, "base-cd34": {**tags["v0005"]}}) == ["data-v0004"]
