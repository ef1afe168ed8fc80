"""Claims: builders that share a workdir leave each other's shards alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas.identity import digest_bytes
from schemas.refs import EmbedderRef, Shard
from tasks.embed.embed_shard import embed_shard
from tasks.store import claims
from tasks.store.claims import CLAIMS, claim, claim_path, living_owner
from tasks.store.leases import hold_lease
from tasks.store.workdir import Store

ShardOf = Callable[..., Shard]
TEXTS = ["the cat", "a dog", "two birds"]


@pytest.fixture
def mine(store: Store) -> Store:
    """The workdir of a builder with a living lease."""
    mine = Store(store.root, owner="mine")
    with hold_lease(store.root, "mine", "notes", "build"):
        yield mine


@pytest.fixture
def yours(store: Store) -> Store:
    """The same workdir for another builder, alive too."""
    yours = Store(store.root, owner="yours")
    with hold_lease(store.root, "yours", "notes", "build"):
        yield yours


def claimed(store: Store) -> list[str]:
    """Every claim there is, unfinished ones too."""
    folder = Path(store.root) / CLAIMS
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_claim_holds_for_its_block(mine, yours):
    with claim(mine, "one") as holder:
        assert holder is None
        assert living_owner(yours, "one") == "mine"
        assert living_owner(mine, "one") is None
        with claim(yours, "one") as other:
            assert other == "mine"
        with claim(yours, "two") as other:
            assert other is None
        assert claimed(mine) == ["one"]
    assert claimed(mine) == []


def test_a_claim_of_the_dead_is_taken_over(store, mine):
    dead = Store(store.root, owner="dead")
    path = claim_path(dead, "one")
    path.parent.mkdir(parents=True)
    path.write_text("dead")
    with claim(mine, "one") as holder:
        assert holder is None
        assert path.read_text() == "mine"
    assert claimed(mine) == []


def test_a_claim_that_was_never_written_is_of_somebody_killed(mine, monkeypatch):
    monkeypatch.setattr(claims, "EMPTY_SECONDS", 0.0)
    path = claim_path(mine, "one")
    path.parent.mkdir(parents=True)
    path.touch()
    with claim(mine, "one") as holder:
        assert holder is None


def test_without_an_owner_nothing_is_claimed(store):
    with claim(store, "one") as holder:
        assert holder is None
        assert claimed(store) == []


def claimed_by_you(ref: EmbedderRef, yours: Store, texts: list[str]) -> Any:
    """The other builder's claim on the shard of these texts."""
    hashes = sorted(digest_bytes(text.encode()) for text in texts)
    return claim(yours, f"{ref.vector_key}-{digest_bytes(b''.join(hashes)).hex()}")


def test_a_shard_at_another_builder_is_left_to_it(
    fake: Any, ref: EmbedderRef, mine: Store, yours: Store, shard_of: ShardOf
) -> None:
    shard = shard_of(TEXTS)
    with claimed_by_you(ref, yours, TEXTS):
        result = embed_shard(shard, ref, mine)
        assert (result.claimed_by, result.path, result.embedded) == ("yours", None, 0)
        assert fake.batches == []
        # whoever waited long enough does it, and leaves the other's claim alone
        result = embed_shard(shard, ref, mine, patience=0.1)
        assert (result.claimed_by, result.embedded) == (None, 3)
        assert len(claimed(mine)) == 1
    assert claimed(mine) == []


def test_one_that_is_done_meanwhile_is_found(
    fake: Any, ref: EmbedderRef, mine: Store, yours: Store, shard_of: ShardOf, monkeypatch: Any
) -> None:
    shard = shard_of(TEXTS)
    theirs = claimed_by_you(ref, yours, TEXTS)
    theirs.__enter__()

    def they_end(_seconds: float) -> None:
        theirs.__exit__(None, None, None)
        embed_shard(shard, ref, yours)
        fake.batches.clear()

    monkeypatch.setattr(claims.time, "sleep", they_end)
    result = embed_shard(shard, ref, mine, patience=60)
    assert (result.found, result.embedded, fake.batches) == (True, 3, [])


def test_a_claim_goes_when_the_shard_failed(
    fake: Any, ref: EmbedderRef, mine: Store, shard_of: ShardOf
) -> None:
    fake.broken = True
    with pytest.raises(Exception, match="fails on everything"):
        embed_shard(shard_of(TEXTS), ref, mine)
    assert claimed(mine) == []


def test_what_another_plan_embedded_meanwhile_is_not_embedded_again(
    fake: Any, ref: EmbedderRef, mine: Store, shard_of: ShardOf
) -> None:
    shard = shard_of([*TEXTS, "a fish"])
    embed_shard(shard_of(["a horse", *TEXTS[:2]], "theirs"), ref, mine)
    result = embed_shard(shard, ref, mine)
    assert result.embedded == 2
    hashes = pq.read_table(result.path, columns=["content_hash"]).column(0).to_pylist()
    assert hashes == sorted(digest_bytes(text.encode()) for text in ("two birds", "a fish"))
    fake.batches.clear()
    assert embed_shard(shard, ref, mine).found
    assert fake.batches == []


def test_a_file_is_the_same_whatever_the_order_of_its_contents(
    fake: Any, ref: EmbedderRef, mine: Store, shard_of: ShardOf
) -> None:
    one = embed_shard(shard_of([*TEXTS, "this is poison"]), ref, mine)
    rows = pq.read_table(one.path)
    Path(str(one.path)).unlink()
    (Path(mine.root) / "rejects").rename(Path(mine.root) / "gone")
    other = embed_shard(shard_of(["this is poison", *TEXTS[::-1]], "other"), ref, mine)
    assert other.path == one.path
    assert pq.read_table(other.path).equals(rows)
