"""One build is found by release, by id or its beginning, or as the latest."""

from __future__ import annotations

import pytest

from schemas.errors import UsageError
from tasks.query.builds import find_build
from tasks.table.companions import append_build
from tasks.table.dataset import TableRef
from tasks.table.releases import list_releases


@pytest.fixture
def refused_too(tiny):
    """The tiny space, and a later build that a gate refused."""
    manifest = list_releases(TableRef.of(tiny))[0].manifest
    changes = {"build_id": "c2f0", "refused_by": ("collapse",), "published": False}
    append_build(TableRef.of(tiny), manifest.model_copy(update={**changes, "release": None}))
    return tiny


@pytest.mark.parametrize(
    ("which", "build_id"),
    [
        pytest.param({}, "c2f0", id="the latest, refused or not"),
        pytest.param({"build": "c2"}, "c2f0", id="the beginning of an id"),
        pytest.param({"build": "b1"}, "b1", id="an id"),
        pytest.param({"release": "v0001"}, "b1", id="a release"),
        pytest.param({"release": "prod"}, "b1", id="a tag"),
    ],
)
def test_found(refused_too, which, build_id):
    assert find_build(refused_too, **which).build_id == build_id


@pytest.mark.parametrize(
    ("which", "message"),
    [
        pytest.param({"build": "zz"}, "no build 'zz'; the latest are b1, c2f0", id="unknown"),
        pytest.param({"build": ""}, "several builds", id="not the only one"),
        pytest.param({"build": "b1", "release": "v0001"}, "one of the two", id="both"),
    ],
)
def test_not_found(refused_too, which, message):
    with pytest.raises(UsageError, match=message):
        find_build(refused_too, **which)
