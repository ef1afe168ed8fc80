"""A space whose table lies on S3: everything that a folder can do."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import lance
import lancedb
import numpy as np
import pytest

import made_embedder
from made_faults import Fault
from made_s3 import CREDENTIALS, STORAGE_OPTIONS
from made_words import sentence
from tasks.embedders.batching import done
from tasks.table.companions import count_rejects, read_builds, release_hold, set_hold
from tasks.table.object_store import _reach
from tasks.table.releases import list_releases
from tasks.table.transaction import base_tags


@pytest.fixture
def remote(notes, bucket, monkeypatch):
    """The thirty notes with their table in a bucket; embedded by the word model without torch."""
    for place in ("tasks.embed.embed_shard.load", "tasks.embedders.load.load"):
        monkeypatch.setattr(place, made_embedder.WordEmbedder)
    notes.changes |= {"uri": bucket.uri, "storage_options": STORAGE_OPTIONS}
    return notes


@pytest.fixture
def spoiled_words(monkeypatch):
    """Plant a fault: what `change` makes of the word model's vectors is what it returns."""

    def plant(change) -> None:
        real = made_embedder.WordEmbedder.submit_tokens
        monkeypatch.setattr(
            made_embedder.WordEmbedder,
            "submit_tokens",
            lambda self, tokens, rows: done(change(real(self, tokens, rows)())),
        )

    return plant


DYING = """
import os, sys
import made_embedder
from importlib import import_module
from flows.cli import run

spec, place = sys.argv[1:]
made_embedder.use()
owner, _, name = place.rpartition(".")
setattr(import_module(owner), name, lambda *_, **__: os.kill(os.getpid(), 9))
sys.exit(run(["build", spec]))
"""


def killed(spec: Path, place: str) -> None:
    """Run `vecmill build` in a process of its own until it calls `place`, and kill it there."""
    repository = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(spec), place],
        env={**os.environ, "PYTHONPATH": f"{repository}:{repository / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, (place, done.stdout, done.stderr)


def open_prod(space, bucket):
    """The rows as a reader sees them that knows nothing of vecmill."""
    table = lancedb.connect(bucket.uri, storage_options=bucket.options).open_table("notes")
    table.checkout("prod")
    return table


def content(space, bucket) -> dict[str, str]:
    """id → text of prod, each id once."""
    table = open_prod(space, bucket).to_arrow()
    ids = table.column("id").to_pylist()
    assert len(ids) == len(set(ids))
    return dict(zip(ids, table.column("text").to_pylist(), strict=True))


def objects(space, bucket) -> set[str]:
    """Every object of the table."""
    dataset = lance.dataset(space.ref.path, storage_options=bucket.options)
    return set(dataset.new_file_session().list())


def orphans(space, bucket) -> set[str]:
    """Every object that no version of main refers to, and that is none of Lance's own."""
    dataset = lance.dataset(space.ref.path, storage_options=bucket.options)
    held = set(dataset.tracked_files().read_all().column("path").to_pylist())
    own = ("_refs/", "_versions/latest_version_hint.json")
    return {name for name in objects(space, bucket) - held if not name.startswith(own)}


def expected(texts: dict[str, str]) -> dict[str, str]:
    return {f"docs:{key}": text for key, text in texts.items()}


def test_a_life_on_an_object_store(remote, texts, bucket):
    remote.write({**texts, "blank": " "})
    first = remote.build()
    assert (first.manifest.release, first.manifest.counts.rows) == ("v0001", 30)
    assert content(remote, bucket) == expected(texts)
    again = remote.build().manifest
    assert (again.release, again.published) == ("v0001", False)

    texts = {**texts, "n3": sentence(300), "fresh": sentence(301)}
    del texts["n5"]
    remote.write({**texts, "blank": " "})
    counts = remote.build().manifest.counts
    assert (counts.new, counts.changed, counts.removed, counts.embedded) == (1, 1, 1, 2)
    assert content(remote, bucket) == expected(texts)

    assert [r.name for r in list_releases(remote.ref)] == ["v0001", "v0002"]
    versions = remote.command("versions").out
    assert "v0002" in versions
    assert "base-" not in versions
    for question in (["w300", "--mode", "text"], ["w300 w300"], ["w300", "--mode", "hybrid"]):
        found = json.loads(remote.command("search", *question, "--json").out)
        assert found["hits"][0]["id"] == "docs:n3", question
    assert "empty-text" in remote.command("rejects").out
    assert count_rejects(remote.ref, first.manifest.build_id)["reason"].to_list() == ["empty-text"]
    assert remote.command("report").code == 0
    assert remote.command("build", "--dry-run").code == 0
    assert len(read_builds(remote.ref)) == 2
    assert base_tags(remote.ref) == {}
    assert not [name for name in remote.files() if name.startswith(("s3:", "db"))]


def test_a_refused_build_leaves_no_object(remote, texts, bucket, spoiled_words):
    remote.build()
    before = objects(remote, bucket)
    remote.write({**texts, "n3": sentence(300), "fresh": sentence(301)})
    spoiled_words(lambda vectors: vectors * np.float32(2))
    outcome = remote.build()
    assert (outcome.exit_code, outcome.manifest.published) == (3, False)
    assert objects(remote, bucket) == before
    assert content(remote, bucket) == expected(texts)


def test_a_held_space_publishes_when_the_hold_is_released(remote, texts, bucket):
    remote.build()
    set_hold(remote.ref, "the press looks", "ada")
    texts = {**texts, "fresh": sentence(301)}
    remote.write(texts)
    before = objects(remote, bucket)
    outcome = remote.build()
    assert (outcome.exit_code, outcome.manifest.refused_by) == (3, ("hold",))
    assert objects(remote, bucket) == before
    release_hold(remote.ref, "they have looked", "ada")
    assert remote.build().manifest.release == "v0002"
    assert content(remote, bucket) == expected(texts)


@pytest.mark.parametrize(
    ("place", "release"),
    [
        ("tasks.table.transaction._committed", None),
        ("tasks.publish.publish.finish", "v0002"),
        ("tasks.table.reconcile.build_indexes", "v0002"),
    ],
    ids=["before the commit", "before the release tag", "before the index"],
)
def test_a_killed_build_is_finished_by_the_next(remote, texts, bucket, place, release):
    remote.build()
    wanted = {**texts, "n3": sentence(300), "fresh": sentence(301)}
    remote.write(wanted)
    killed(remote.spec_file(), place)
    assert content(remote, bucket) == expected(texts)
    outcome = remote.build().manifest
    assert (outcome.release, outcome.published) == ("v0002", release is None)
    assert content(remote, bucket) == expected(wanted)
    assert [r.name for r in list_releases(remote.ref)] == ["v0001", "v0002"]
    assert len(read_builds(remote.ref)) == 2
    assert (orphans(remote, bucket), base_tags(remote.ref)) == (set(), {})
    assert list((remote.folder / "work" / "leases").iterdir()) == []


def test_back_and_forth_upkeep_and_erasure_on_an_object_store(remote, texts, bucket):
    remote.build()
    remote.write({**texts, "n3": sentence(300), "blank": " "})
    remote.build()
    assert remote.command("rollback").code == 0
    assert content(remote, bucket) == expected(texts)
    assert remote.command("release-hold").code == 0
    assert remote.command("rejects", "--retry").code == 0
    assert content(remote, bucket) == expected({**texts, "n3": sentence(300)})
    killed(remote.spec_file(), "tasks.table.releases.release_versions")  # it holds its lease only
    kept = remote.command("maintain", "--keep", "1", "--grace", "0")
    assert kept.code == 0, kept.err
    assert [r.name for r in list_releases(remote.ref)] == ["v0004"]
    assert (orphans(remote, bucket), base_tags(remote.ref)) == (set(), {})
    forgot = remote.command("forget", "--key", "n5", "--yes")
    assert forgot.code == 0, forgot.err
    wanted = expected({k: t for k, t in texts.items() if k != "n5"} | {"n3": sentence(300)})
    assert content(remote, bucket) == wanted
    assert remote.build().manifest.published is False
    assert content(remote, bucket) == wanted
    assert (orphans(remote, bucket), base_tags(remote.ref)) == (set(), {})


def test_without_its_variables_nothing_is_asked(remote, monkeypatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    answer = remote.command("build")
    assert answer.code == 2
    assert "storage_options.aws_secret_access_key: AWS_SECRET_ACCESS_KEY: no such env" in answer.err


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("command", ["build", "versions", "search"])
def test_a_store_that_does_not_answer_is_told_in_seconds(remote, monkeypatch, command):
    monkeypatch.setenv("TEST_S3_ENDPOINT", closed_port())
    check(remote, command, "the store did not answer", "see whether the endpoint is right")


def test_a_store_that_never_answers_is_given_up(remote, monkeypatch):
    monkeypatch.setattr("tasks.table.object_store.REACH_SECONDS", 2)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(50)
        monkeypatch.setenv("TEST_S3_ENDPOINT", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        check(remote, "build", "the store did not answer", "see whether the endpoint is right")


def test_an_endpoint_without_leave_for_http(remote, monkeypatch):
    monkeypatch.setenv("TEST_S3_HTTP", "false")
    check(remote, "build", "do not describe a store", "http:// needs allow_http set to true")


def test_a_bucket_that_is_not_there(remote):
    remote.changes["uri"] = "s3://no-such-bucket-here/tables"
    check(remote, "build", "the bucket does not exist", "create it, or correct `uri` in the spec")


def test_credentials_that_the_store_refuses(remote, faulty, monkeypatch):
    monkeypatch.setenv("TEST_S3_ENDPOINT", faulty.endpoint)
    with faulty.failing(lambda _: Fault(403)):
        check(remote, "build", "the store refused the request", "see whether the credentials")


def check(space, command: str, cause: str, step: str) -> None:
    """The command fails with that cause, its stage, what to do next, and no secret; and soon."""
    _reach.cache_clear()
    start = time.perf_counter()
    answer = space.command(command, *(["w1", "--mode", "text"] if command == "search" else []))
    assert time.perf_counter() - start < 20
    assert answer.code == 1, answer.err
    assert cause in answer.err
    assert step in answer.err
    assert "run again" in answer.err
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in answer.err
    assert CREDENTIALS["AWS_ACCESS_KEY_ID"] not in answer.err
    assert ".rs:" not in answer.err
    if command == "build":
        assert "in stage start_up" in answer.err
