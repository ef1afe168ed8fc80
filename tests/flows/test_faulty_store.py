"""An object store that answers 500 and 503: the build goes through, or says so; never half."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator

import lance
import pytest

import made_embedder
from made_faults import Asked, Fault, Rule
from made_s3 import STORAGE_OPTIONS, Bucket
from made_words import sentence
from schemas.arrow import table_schema
from tasks.table.companions import read_builds
from tasks.table.dataset import ensure_table
from tasks.table.object_store import _reach
from tasks.table.releases import list_releases
from tasks.table.transaction import base_tags


@pytest.fixture
def shaky(notes, bucket, faulty, monkeypatch) -> Iterator[object]:
    """The thirty notes with their table behind the proxy."""
    monkeypatch.setattr("tasks.embed.embed_shard.load", made_embedder.WordEmbedder)
    monkeypatch.setenv("TEST_S3_ENDPOINT", faulty.endpoint)
    notes.changes |= {"uri": bucket.uri, "storage_options": STORAGE_OPTIONS}
    _reach.cache_clear()
    return notes


def rows(space, bucket: Bucket) -> list[dict]:
    """The content columns of prod past the proxy, in id order, each id once."""
    dataset = lance.dataset(space.ref.path, version="prod", storage_options=bucket.options)
    found = dataset.to_table().drop_columns(["cluster", "x", "y"]).sort_by("id").to_pylist()
    assert len({row["id"] for row in found}) == len(found)
    return found


def fresh(space, uri: str) -> list[dict]:
    """What a first build of the same files in a folder gives."""
    was = dict(space.changes)
    space.changes |= {"uri": uri, "workdir": f"{uri}-work", "storage_options": None}
    space.build()
    table = lance.dataset(space.ref.path, version="prod").to_table()
    space.changes = was
    return table.drop_columns(["cluster", "x", "y"]).sort_by("id").to_pylist()


def told(answer) -> None:
    """A failed build says where, why and what next."""
    assert answer.code == 1, answer.err
    assert "in stage " in answer.err
    assert "the store answered with errors of its own, also when asked again" in answer.err
    assert "wait until it is well, and run again" in answer.err
    assert "made-up" not in answer.err


def settled(space, bucket: Bucket, releases: int) -> None:
    """The store is well again: one build more, and everything is as if it always had been."""
    assert space.build().exit_code == 0
    assert rows(space, bucket) == fresh(space, "./fresh-db")
    found = list_releases(space.ref)
    assert [r.number for r in found] == list(range(1, releases + 1))
    assert base_tags(space.ref) == {}
    recorded = [b.manifest.build_id for b in read_builds(space.ref) if b.manifest.published]
    assert sorted(recorded) == sorted(r.manifest.build_id for r in found)


def is_commit(asked: Asked) -> bool:
    """Whether it commits a version of the table on main: a manifest put if there is none."""
    place, _, name = asked.path.rpartition("/")
    on_main = place.endswith("/notes.lance/_versions") and not name.startswith("d")
    return asked.method == "PUT" and asked.put_if_absent and on_main


def once(rule: Rule) -> Rule:
    """The rule until it has let one request fail."""
    left = [1]

    def first(asked: Asked) -> Fault | None:
        fault = rule(asked) if left else None
        if fault is not None:
            left.clear()
        return fault

    return first


DIMENSIONS = 32  # of the word model


def first_schema(space):
    """The schema of the table before its first release."""
    return table_schema(DIMENSIONS, space.spec.publish.vector_type, [])


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("tells", ["once", pytest.param("always", marks=pytest.mark.slow)])
@pytest.mark.parametrize("stands", [1, 0], ids=["an update", "the first content"])
def test_a_commit_that_took_effect_and_was_answered_by_an_error(
    shaky, texts, bucket, faulty, status, tells, stands
):
    """The ambiguous commit: the store did it, and says that it did not."""
    if stands:
        shaky.build()
    else:  # the empty table and the companion's are commits, too, and not what is looked at
        ensure_table(shaky.ref, first_schema(shaky))
    shaky.write({**texts, "n3": sentence(300), "fresh": sentence(301)})

    def rule(asked: Asked) -> Fault | None:
        return Fault(status, after=True) if is_commit(asked) else None

    with faulty.failing(once(rule) if tells == "once" else rule) as failed:
        answer = shaky.command("build")
    assert failed
    assert answer.code == 0 or tells == "always", answer.err
    if answer.code:  # index and tags were refused, too, but what was committed is a release
        told(answer)
    settled(shaky, bucket, stands + 1)
    assert {row["key"] for row in rows(shaky, bucket)} == {*texts, "fresh"}


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts the tests, also where a shell began them in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_while_a_commit_is_under_way(shaky, texts, bucket, faulty):
    """The store has the request already and carries it out: what it commits must have its files."""
    shaky.build()
    shaky.write({**texts, "n3": sentence(300), "fresh": sentence(301)})

    def interrupted(asked: Asked) -> Fault | None:
        if not is_commit(asked):
            return None
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        return Fault(None, late=1.0)

    with faulty.failing(once(interrupted)) as failed, pytest.raises(KeyboardInterrupt):
        shaky.build()
    assert failed
    time.sleep(1.5)  # whatever is under way has arrived
    settled(shaky, bucket, 2)


@pytest.mark.slow
@pytest.mark.parametrize("status", [500, 503])
def test_a_commit_that_never_takes_effect(shaky, texts, bucket, faulty, status):
    shaky.build()
    before = rows(shaky, bucket)
    shaky.write({**texts, "n3": sentence(300), "fresh": sentence(301)})
    with faulty.failing(lambda asked: Fault(status) if is_commit(asked) else None):
        told(shaky.command("build"))
    assert rows(shaky, bucket) == before
    settled(shaky, bucket, 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["PUT", "GET", "HEAD", "LIST", "DELETE"])
def test_every_fourth_request_of_a_kind_fails(shaky, texts, bucket, faulty, kind):
    """The requests are repeated, by Lance or by us: the build goes through."""
    count = [0]

    def rule(asked: Asked) -> Fault | None:
        count[0] += asked.kind == kind
        return Fault(503) if asked.kind == kind and count[0] % 4 == 0 else None

    shaky.build()
    shaky.write({**texts, "n3": sentence(300), "fresh": sentence(301)})
    with faulty.failing(rule) as failed:
        answer = shaky.command("build")
    assert failed or kind in ("HEAD", "DELETE")
    assert answer.code == 0, answer.err
    settled(shaky, bucket, 2)


@pytest.mark.slow
@pytest.mark.timeout(560)
@pytest.mark.parametrize("seed", range(6))
def test_any_request_may_fail_before_or_after_it_took_effect(shaky, texts, bucket, faulty, seed):
    """A store in trouble: a third of all requests fail, half of those after they were done."""
    chance = random.Random(seed)
    share = [0.1, 0.3, 0.6][seed % 3]

    def rule(_: Asked) -> Fault | None:
        if chance.random() > share:
            return None
        return Fault(chance.choice([500, 503]), after=chance.random() < 0.5)

    ends = []
    releases = 0
    for turn in range(4):
        shaky.write({**texts, "n3": sentence(300 + turn), f"fresh{turn}": sentence(310 + turn)})
        with faulty.failing(rule):
            answer = shaky.command("build")
        ends.append(answer.code)
        if answer.code:
            told(answer)
        if turn % 2:  # also from whatever a failed build left behind
            assert shaky.build().exit_code == 0
            assert rows(shaky, bucket) == fresh(shaky, f"./fresh-{turn}")
    releases = len(list_releases(shaky.ref))
    print(f"seed {seed}, {share:.0%} of the requests fail: exit codes {ends}")
    settled(shaky, bucket, releases)
