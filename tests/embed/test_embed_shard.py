"""A shard becomes a vectors file; what cannot be embedded becomes rejects; nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from schemas.arrow import vectors_schema
from schemas.errors import VecmillError
from schemas.identity import digest_bytes
from schemas.refs import EmbedderRef, Shard, ShardResult
from tasks.embed.embed_shard import embed_shard
from tasks.store.workdir import Store

ShardOf = Callable[..., Shard]


class Counter:
    """A listener that adds up."""

    rows = found = tokens = slots = 0

    def advance(self, rows: int, *, tokens: int = 0, slots: int = 0, found: bool = False) -> None:
        self.rows += rows
        self.found += rows * found
        self.tokens += tokens
        self.slots += slots


def vectors(result: ShardResult) -> dict[bytes, np.ndarray]:
    assert result.path is not None
    table = pq.read_table(result.path)
    flat = table.column("vector").combine_chunks().flatten().to_numpy()
    lines = flat.reshape(table.num_rows, -1)
    return dict(zip(table.column("content_hash").to_pylist(), lines, strict=True))


def rejects(result: ShardResult) -> list[dict[str, Any]]:
    return pq.read_table(result.rejects.path).to_pylist()


def test_every_text_gets_its_own_vector(
    fake: Any, ref: EmbedderRef, store: Store, shard_of: ShardOf
) -> None:
    texts = ["the cat", "a much longer text about a dog", "mat", "sat on"]
    result = embed_shard(shard_of(texts), ref, store)

    assert pq.read_schema(result.path).equals(vectors_schema(4))
    made = vectors(result)
    assert list(made) == sorted(digest_bytes(text.encode()) for text in texts)
    for text in texts:
        np.testing.assert_array_equal(made[digest_bytes(text.encode())], fake.vector(text))
    assert (result.embedded, result.rejects.items) == (4, 0)
    assert result.tokens == sum(map(len, texts))
    assert result.seconds > result.model_seconds > 0
    assert len(fake.batches) > 1


def test_a_listener_hears_of_tokens_padding_and_finds(
    fake: Any, ref: EmbedderRef, store: Store, shard_of: ShardOf
) -> None:
    shard = shard_of(["eight ch", "four", "six ch", "x" * 40])
    first, again = Counter(), Counter()
    result = embed_shard(shard, ref, store, progress=first)
    embed_shard(shard, ref, store, progress=again)

    # One batch of the longest text, one of the others, filled up to 8.
    assert (first.rows, first.found, first.tokens, first.slots) == (4, 0, 58, 64)
    assert (result.tokens, result.slots) == (58, 64)
    assert (again.rows, again.found, again.tokens) == (4, 4, 0)


def test_a_shard_is_a_slice_of_its_contents(
    fake: Any, ref: EmbedderRef, store: Store, shard_of: ShardOf
) -> None:
    texts = [f"text {i}" for i in range(10)]
    result = embed_shard(replace(shard_of(texts), offset=4, length=3), ref, store)

    assert set(vectors(result)) == {digest_bytes(text.encode()) for text in texts[4:7]}


def test_the_file_is_named_after_the_contents_whatever_their_order(
    fake: Any, ref: EmbedderRef, store: Store, shard_of: ShardOf
) -> None:
    one = embed_shard(shard_of(["a", "b", "c"], "one"), ref, store)
    other = embed_shard(shard_of(["c", "a", "b"], "two"), ref, store)

    assert one.path == other.path
    assert Path(str(one.path)).parent.name == ref.vector_key


def test_a_shard_that_was_done_is_found(
    fake: Any, ref: EmbedderRef, store: Store, shard_of: ShardOf
) -> None:
    shard = shard_of(["the cat", "poison"])
    first = embed_shard(shard, ref, store)
    fake.batches.clear()
    progress = Counter()
    again = embed_shard(shard, ref, store, progress=progress)

    assert fake.batches == []
    assert progress.rows == 2
    assert (again.path, again.embedded, again.rejects) == (first.path, 1, first.rejects)


def test_another_spaces_rejects_are_not_taken_for_ones_own(
    fake: Any, ref: EmbedderRef, store: Store, shard_of: ShardOf
) -> None:
    embed_shard(shard_of(["the cat", "poison"], "mine"), ref, store)
    theirs = embed_shard(shard_of(["the cat", "poison"], "yours"), ref, store)

    assert [reject["id"] for reject in rejects(theirs)] == ["yours:1"]


def test_vectors_of_another_space_are_taken_where_they_are_complete(
    fake: Any, ref: EmbedderRef, store: Store, shard_of: ShardOf
) -> None:
    embed_shard(shard_of(["the cat", "dog"], "mine"), ref, store)
    fake.batches.clear()
    theirs = embed_shard(shard_of(["the cat", "dog"], "yours"), ref, store)

    assert fake.batches == []
    assert (theirs.embedded, theirs.rejects.items) == (2, 0)


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("this is poison", "RuntimeError: index out of range in self"),
        ("infinite", "the embedder gave a vector with NaN or infinity"),
        ("nothing", "the embedder gave the zero vector, which no search can find"),
    ],
)
def test_one_bad_text_is_rejected_and_the_others_embedded(
    fake: Any, ref: EmbedderRef, store: Store, shard_of: ShardOf, text: str, detail: str
) -> None:
    good = [f"good {i}" for i in range(20)]
    shard = shard_of([*good[:7], text, *good[7:]])
    progress = Counter()
    result = embed_shard(shard, ref, store, progress=progress)

    assert set(vectors(result)) == {digest_bytes(text.encode()) for text in good}
    (reject,) = rejects(result)
    assert reject["detail"] == detail
    assert (reject["reason"], reject["stage"], reject["level"]) == ("embed-failed", "embed", "item")
    assert (reject["id"], reject["source"], reject["key"]) == ("docs:7", "docs", "7")
    assert (result.embedded, result.rejects.items, progress.rows) == (20, 1, 21)


def test_an_embedder_that_fails_on_everything_stops_the_build(
    fake: Any, ref: EmbedderRef, store: Store, shard_of: ShardOf
) -> None:
    fake.broken = True

    with pytest.raises(VecmillError, match="fails on everything, a harmless input included"):
        embed_shard(shard_of(["the cat", "dog"]), ref, store)
    assert store.files(f"vectors/{ref.vector_key}") == []


def test_a_whole_shard_of_bad_texts_stops_the_build(
    fake: Any, ref: EmbedderRef, store: Store, shard_of: ShardOf
) -> None:
    with pytest.raises(VecmillError, match="failed on all 20 items of a shard"):
        embed_shard(shard_of([f"infinite {i}" for i in range(20)]), ref, store)


def test_a_few_bad_texts_alone_are_rejects(
    fake: Any, ref: EmbedderRef, store: Store, shard_of: ShardOf
) -> None:
    result = embed_shard(shard_of(["poison one", "poison two"]), ref, store)

    assert (result.path, result.embedded, result.rejects.items) == (None, 0, 2)
    assert embed_shard(shard_of(["poison one", "poison two"]), ref, store) == ShardResult(
        None, 0, result.rejects, found=True
    )


def test_a_text_that_is_not_what_was_planned_is_rejected(
    fake: Any, ref: EmbedderRef, store: Store, shard_of: ShardOf
) -> None:
    shard = shard_of(["the cat", "dog"])
    part = Path(shard.contents.replace("contents", "items"))
    table = pq.read_table(part).to_pylist()
    table[1]["text"] = "another dog"
    pq.write_table(pq.read_table(part).schema.empty_table().from_pylist(table), part)
    result = embed_shard(shard, ref, store)

    (reject,) = rejects(result)
    assert reject["reason"] == "source-changed"
    assert reject["detail"].endswith("delete that file and build again")
    assert set(vectors(result)) == {digest_bytes(b"the cat")}


def test_pictures_and_texts_share_a_shard(
    fake: Any,
    ref: EmbedderRef,
    store: Store,
    shard_of: ShardOf,
    tmp_path: Path,
    picture: Callable[..., bytes],
) -> None:
    files = [tmp_path / f"{i}.png" for i in range(7)]
    for i, file in enumerate(files):
        file.write_bytes(picture(f"rgb({i}, 100, 200)"))
    progress = Counter()
    result = embed_shard(shard_of(["the cat", *files, "dog"]), ref, store, progress=progress)

    made = vectors(result)
    for i, file in enumerate(files):
        assert made[digest_bytes(file.read_bytes())].tolist() == [i, 100, 200, 1]
    assert (result.embedded, progress.rows) == (9, 9)


def test_pictures_that_changed_broke_or_vanished_are_rejected_each_with_its_reason(
    fake: Any,
    ref: EmbedderRef,
    store: Store,
    shard_of: ShardOf,
    tmp_path: Path,
    picture: Callable[..., bytes],
) -> None:
    files = {name: tmp_path / f"{name}.png" for name in ("good", "edited", "gone", "bad", "red")}
    for i, file in enumerate(files.values()):
        file.write_bytes(picture(f"rgb(0, {i}, 0)"))
    files["bad"].write_bytes(b"this is no picture")
    files["red"].write_bytes(picture("red"))
    shard = shard_of(list(files.values()))
    files["edited"].write_bytes(picture("blue"))
    files["gone"].unlink()
    progress = Counter()
    result = embed_shard(shard, ref, store, progress=progress)

    found = {Path(reject["uri"]).stem: reject for reject in rejects(result)}
    assert {name: reject["reason"] for name, reject in found.items()} == {
        "edited": "source-changed",
        "gone": "source-changed",
        "bad": "embed-failed",
        "red": "embed-failed",
    }
    assert "build again, so that it is read anew" in found["gone"]["detail"]
    assert found["bad"]["detail"].startswith("unsupported-format: ")
    assert found["red"]["detail"] == "RuntimeError: red is not supported"
    assert (result.embedded, result.rejects.items, progress.rows) == (1, 4, 5)


def test_a_picture_that_is_back_is_tried_again(
    fake: Any,
    ref: EmbedderRef,
    store: Store,
    shard_of: ShardOf,
    tmp_path: Path,
    picture: Callable[..., bytes],
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(picture("blue"))
    shard = shard_of([file, "the cat"])
    file.unlink()
    assert embed_shard(shard, ref, store).rejects.items == 1

    file.write_bytes(picture("blue"))
    again = embed_shard(shard, ref, store)
    assert (again.embedded, again.rejects.items) == (1, 0)  # the text has its vector
    assert set(vectors(again)) == {digest_bytes(file.read_bytes())}


def test_a_source_that_cannot_be_reached_stops_the_shard(
    fake: Any,
    ref: EmbedderRef,
    store: Store,
    shard_of: ShardOf,
    tmp_path: Path,
    picture: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(picture("blue"))

    def unreachable(*_arguments: object) -> Any:
        raise PermissionError("no access to the bucket")
        yield

    monkeypatch.setattr("tasks.embed.picture_batches.read_images", unreachable)
    with pytest.raises(PermissionError, match="no access to the bucket"):
        embed_shard(shard_of([file]), ref, store)


def test_real_text_through_a_real_model(minilm: str, store: Store, shard_of: ShardOf) -> None:
    from schemas.spec import EmbedderSpec
    from tasks.embedders.load import load
    from tasks.embedders.resolve import resolve

    ref = resolve(EmbedderSpec(kind="sentence-transformers", model=minilm), {"text"}).plain
    texts = ["The cat sat on the mat.", "Interest rates rose again.", "A cat on a rug"]
    result = embed_shard(shard_of(texts), ref, store)

    of = vectors(result)
    made = np.stack([of[digest_bytes(text.encode())] for text in texts])
    np.testing.assert_allclose(made, load(ref).embed_texts(texts), atol=1e-6)
    assert made[0] @ made[2] > 0.6 > 0.2 > made[0] @ made[1]


def test_storage_options_are_read_where_pictures_are_opened(
    fake: Any,
    ref: EmbedderRef,
    store: Store,
    shard_of: ShardOf,
    tmp_path: Path,
    picture: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "a.png").write_bytes(picture("blue"))
    given = []

    def seen(uris: list[str], locators: list[str | None], options: dict[str, Any]) -> Any:
        given.append(options)
        return iter([Path(uri).read_bytes() for uri in uris])

    monkeypatch.setattr("tasks.embed.picture_batches.read_images", seen)
    monkeypatch.setenv("MY_SECRET", "hush")
    pairs = (("aws_secret_access_key", "MY_SECRET"),)
    assert embed_shard(shard_of([tmp_path / "a.png"]), ref, store, pairs).embedded == 1
    assert given == [{"aws_secret_access_key": "hush"}]
