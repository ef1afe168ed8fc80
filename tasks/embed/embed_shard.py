"""Embed one shard: the contents that have no vector yet, into a file named after them.

    contents slice ─ claimed ─ without those that have a vector by now
      └ texts and pictures, hashes checked ─ batches → vectors/<vector key>/<digest of the contents>
                                                   └ what failed → rejects/embed-<digest>
                                                                 → refused/<vector key>/<digest>

The files are content-addressed: a shard that was embedded before, by this build or another, is
found. The rejects are written first, so the vectors' existence says that both are whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.arrow import vectors_schema
from schemas.errors import VecmillError
from schemas.identity import content_hashes, digest_bytes, digest_json
from schemas.progress import SILENT, Progress
from schemas.reasons import Reason
from schemas.refs import EmbedderRef, RejectsRef, Shard, ShardResult
from tasks.embed.contents import read_contents, read_items
from tasks.embed.isolate import Isolation
from tasks.embed.model_time import ModelTime
from tasks.embedders.batching import token_slots
from tasks.embedders.in_flight import in_flight
from tasks.embedders.load import load
from tasks.embedders.protocol import Embedder
from tasks.embedders.text_batches import TextBatch, submitter, text_batches
from tasks.store.claims import claim, wait_for
from tasks.store.hashes import sorted_bytes
from tasks.store.opening import resolve_options
from tasks.store.refusals import read_refusals, write_refusals
from tasks.store.vectors import known_contents, vectors_folder
from tasks.store.workdir import ROWS_PER_GROUP, RejectsWriter, Store, read_rejects_ref

if TYPE_CHECKING:
    from tasks.embed.picture_batches import PictureBatch

SYSTEMATIC = 16
"""When so many items or more all fail, the embedder is at fault, whatever it says of each."""

PROBE_TEXT = "a"

NO_LENGTHS = np.zeros(0, np.int64)


@dataclass
class Work:
    """A shard under way: its contents, the vectors that came, and why others did not."""

    contents: pa.Table
    embedder: Embedder
    progress: Progress
    isolation: Isolation
    failures: dict[int, tuple[Reason, str]] = field(default_factory=dict)
    tokens: int = 0
    slots: int = 0  # tokens with their padding
    model: ModelTime = field(default_factory=ModelTime)

    def rows(self, kind: str) -> np.ndarray:
        """The rows of that kind: int64."""
        return np.flatnonzero(pc.equal(self.contents.column("kind"), kind).to_numpy())


def embed_shard(
    shard: Shard,
    embedder: EmbedderRef,
    store: Store,
    storage_options: tuple[tuple[str, str], ...] = (),
    retry: bool = False,
    patience: float = 0.0,
    progress: Progress = SILENT,
) -> ShardResult:
    """Embed the shard's contents that have no vector by now, or find that it was done.

    A shard that another living builder is at is left to it (`ShardResult.claimed_by`); with
    `patience` (seconds) its end is waited for at most so long, and then it is done here. With
    `retry` what failed before is no find.

    `storage_options` are (option, environment variable) pairs, for sources on object stores: the
    values are read here, so that none travels through a task's parameters. An item whose source
    changed since it was planned, or that the embedder cannot embed, is a reject; raises
    `VecmillError` when the embedder fails on everything.
    """
    contents = read_contents(shard)
    if found := _finished(store, contents, embedder, retry):
        progress.advance(contents.num_rows, found=True)
        return found
    name = f"{embedder.vector_key}-{_digest(contents)}"
    wait_for(store, name, patience)
    with claim(store, name) as holder:
        if holder is not None and not patience:
            return ShardResult(None, 0, RejectsRef("", 0, 0), claimed_by=holder)
        if found := _finished(store, contents, embedder, retry):  # while we came to the claim
            progress.advance(contents.num_rows, found=True)
            return found
        return _embed_left(contents, embedder, store, storage_options, retry, progress)


def _embed_left(
    contents: pa.Table,
    embedder: EmbedderRef,
    store: Store,
    storage_options: tuple[tuple[str, str], ...],
    retry: bool,
    progress: Progress,
) -> ShardResult:
    """Embed the contents that have no vector by now: others may have planned some of them too."""
    hashes = contents.column("content_hash").combine_chunks()
    left = contents.filter(~known_contents(store, embedder.vector_key, hashes))
    if left.num_rows < contents.num_rows:
        progress.advance(contents.num_rows - left.num_rows, found=True)
    if not left.num_rows:
        return ShardResult(None, 0, RejectsRef("", 0, 0), found=True)
    if left.num_rows < contents.num_rows and (found := _finished(store, left, embedder, retry)):
        progress.advance(left.num_rows, found=True)
        return found
    began = perf_counter()
    loaded = load(embedder)
    started = perf_counter()
    progress.advance(0)
    vectors = np.zeros((left.num_rows, loaded.dimensions), np.float32)
    work = Work(left, loaded, progress, Isolation(vectors, lambda: _probe(loaded)))
    _embed_texts(work)
    _embed_images(work, storage_options)
    _refuse_systematic(work, store)
    seconds = perf_counter() - started
    rejects = _write_rejects(work, store, _rejects_name(left, embedder))
    _write_refusals(work, store)
    path = _write_vectors(work, store, embedder)
    embedded = left.num_rows - len(work.failures)
    return ShardResult(
        path=path,
        embedded=embedded,
        rejects=rejects,
        tokens=work.tokens,
        slots=work.slots,
        seconds=seconds,
        model_seconds=work.model.seconds,
        load_seconds=started - began,
    )


def _digest(contents: pa.Table) -> str:
    """The name of the vectors file that holds these contents, in whatever order they come."""
    return digest_bytes(sorted_bytes(contents.column("content_hash"))).hex()


def _rejects_name(contents: pa.Table, embedder: EmbedderRef) -> str:
    """The name of the shard's rejects, which name items: under other ids they are others."""
    ids = sorted(contents.column("id").to_pylist())
    return f"embed-{digest_json([embedder.vector_key, _digest(contents), ids])}"


def _finished(
    store: Store, contents: pa.Table, embedder: EmbedderRef, retry: bool
) -> ShardResult | None:
    """The result of an earlier run, where its files are whole.

    An item that the embedder could not take stays rejected, since it would fail again, but for a
    `retry`; one whose source had changed is tried again: the file may be back.
    """
    folder, name = vectors_folder(embedder.vector_key), _rejects_name(contents, embedder)
    whole = store.find(folder, _digest(contents))
    if whole and pq.read_metadata(whole).num_rows == contents.num_rows:
        with RejectsWriter(store, name) as writer:  # perhaps another space embedded it
            pass
        return ShardResult(str(whole), contents.num_rows, writer.ref, found=True)
    rejects = store.find("rejects", name)
    if rejects is None or retry:
        return None
    told = pq.read_table(rejects, columns=["id", "reason"])
    kept = contents.filter(
        pc.invert(pc.is_in(contents.column("id"), value_set=told.column("id").combine_chunks()))
    )
    if Reason.SOURCE_CHANGED in told.column("reason").to_pylist():
        return None
    vectors = store.find(folder, _digest(kept)) if kept.num_rows else None
    if kept.num_rows and vectors is None:
        return None
    path = str(vectors) if vectors else None
    return ShardResult(path, kept.num_rows, read_rejects_ref(rejects), found=True)


def _embed_texts(work: Work) -> None:
    rows = work.rows("text")
    if not len(rows):
        return
    column = read_items(work.contents.take(rows), ["text"]).column("text")
    texts = pc.fill_null(column, "").to_pylist()
    same = _as_planned(work, rows, texts)
    rows, texts = rows[same], [texts[i] for i in np.flatnonzero(same)]
    if not texts:
        return
    embedder = work.embedder
    batches = text_batches(embedder, texts)
    submit = work.model.of(submitter(embedder))
    for batch, pending in in_flight(submit, batches, embedder.in_flight):

        def forward(part: np.ndarray, batch: TextBatch = batch) -> np.ndarray:
            places = np.searchsorted(rows, part)
            if batch.failure is not None:  # of the tokenizer, which then takes each part anew
                return embedder.embed_texts([texts[place] for place in places])
            return embedder.embed_tokens(batch.tokens, places - batch.start)

        here = rows[batch.places]
        work.isolation.embed(work.model.of(forward), here, work.model.of(pending))
        lengths = batch.tokens.lengths[batch.rows] if batch.failure is None else NO_LENGTHS
        held, slots = int(lengths.sum()), token_slots(lengths, padded=embedder.padded)
        work.tokens += held
        work.slots += slots
        work.progress.advance(len(here), tokens=held, slots=slots)


def _as_planned(work: Work, rows: np.ndarray, texts: list[str]) -> np.ndarray:
    """Which texts have the content hash that was planned; the others become rejects: bool `[n]`."""
    planned = work.contents.column("content_hash").take(rows).combine_chunks()
    same = pc.equal(content_hashes(texts), planned).to_numpy(zero_copy_only=False)
    for row in rows[~same].tolist():
        part = work.contents.column("part")[row].as_py()
        work.failures[row] = (
            Reason.SOURCE_CHANGED,
            f"{part} no longer holds the text that was planned; delete that file and build again",
        )
    work.progress.advance(int((~same).sum()))
    return same


def _embed_images(work: Work, storage_options: tuple[tuple[str, str], ...]) -> None:
    rows = work.rows("image")
    if not len(rows):
        return
    from tasks.embed.picture_batches import picture_batches  # Pillow, where there are pictures

    items = read_items(work.contents.take(rows), ["uri", "locator"])
    items = items.append_column("content_hash", work.contents.column("content_hash").take(rows))
    options = resolve_options(storage_options)
    usable = _usable(work, picture_batches(items, rows, work.embedder, options))
    submit = work.model.of(lambda batch: work.embedder.submit_pixels(batch[1]))
    submitted = in_flight(submit, usable, work.embedder.in_flight)
    for (here, pixels), pending in submitted:

        def forward(
            part: np.ndarray, pixels: np.ndarray = pixels, here: np.ndarray = here
        ) -> np.ndarray:
            return work.embedder.embed_pixels(pixels[np.searchsorted(here, part)])

        work.isolation.embed(work.model.of(forward), here, work.model.of(pending))
        work.progress.advance(len(here))


def _usable(work: Work, batches: Iterable[PictureBatch]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows and pixels of each batch; those without pixels become rejects."""
    for batch in batches:
        work.failures.update(batch.failures)
        work.progress.advance(len(batch.failures))
        if batch.pixels is not None:
            yield batch.rows, batch.pixels


def _probe(embedder: Embedder) -> None:
    """Embed something harmless of each kind; raises when the embedder cannot embed at all."""
    if "text" in embedder.ref.kinds:
        embedder.embed_texts([PROBE_TEXT])
    if "image" in embedder.ref.kinds:
        from PIL import Image

        embedder.embed_images([Image.new("RGB", (64, 64), "grey")])


def _refuse_systematic(work: Work, store: Store) -> None:
    """Take over what could not be embedded; raise when that is everything there was.

    What is known to fail says nothing of the embedder: a shard of a retry may hold nothing else.
    """
    work.failures.update(
        (row, (Reason.EMBED_FAILED, detail)) for row, detail in work.isolation.failures.items()
    )
    failed = [detail for reason, detail in work.failures.values() if reason == Reason.EMBED_FAILED]
    if len(failed) == work.contents.num_rows and failed:
        work.isolation.probe()
        if len(failed) - _known_to_fail(work, store) >= SYSTEMATIC:
            raise VecmillError(
                f"embedder {work.embedder.ref.model!r} failed on all {len(failed)} items of a "
                f"shard; the first: {failed[0]}. Try the model on one item by hand"
            )


def _known_to_fail(work: Work, store: Store) -> int:
    known = read_refusals(store, work.embedder.ref.vector_key)["content_hash"].to_list()
    hashes = work.contents.column("content_hash")
    return pc.sum(pc.is_in(hashes, pa.array(known, hashes.type))).as_py()


def _write_refusals(work: Work, store: Store) -> None:
    """Keep which contents the embedder could not take, so that no other build tries them."""
    hashes = work.contents.column("content_hash")
    refusals: list[dict[str, object]] = [
        {"content_hash": hashes[row].as_py(), "reason": str(reason), "detail": detail}
        for row, (reason, detail) in sorted(work.failures.items())
        if reason == Reason.EMBED_FAILED
    ]
    write_refusals(store, work.embedder.ref.vector_key, refusals)


def _write_rejects(work: Work, store: Store, name: str) -> RejectsRef:
    rows = sorted(work.failures)
    items = work.contents.select(["source", "key", "kind", "id", "uri"]).take(
        pa.array(rows, "int64")
    )
    with RejectsWriter(store, name, level="item", stage="embed") as writer:
        for row, item in zip(rows, items.to_pylist(), strict=True):
            reason, detail = work.failures[row]
            writer.add(**item, reason=reason.value, detail=detail)
    return writer.ref


def _write_vectors(work: Work, store: Store, ref: EmbedderRef) -> str | None:
    """Write what was embedded, sorted by content hash; None when nothing was."""
    kept = np.setdiff1d(np.arange(work.contents.num_rows), list(work.failures))
    if not len(kept):
        return None
    contents = work.contents.take(pa.array(kept, "int64"))
    hashes = contents.column("content_hash")
    order = pc.sort_indices(hashes.cast(pa.binary()))
    vectors = work.isolation.vectors[kept[order.to_numpy()]]
    schema = vectors_schema(ref.dimensions)
    flat = pa.array(vectors.reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(flat, type=schema.field("vector").type)
    folder, name = vectors_folder(ref.vector_key), _digest(contents)
    with store.create(folder, name) as path:
        pq.write_table(
            pa.table([hashes.take(order), lists], schema=schema),
            path,
            row_group_size=ROWS_PER_GROUP,
            compression="none",  # hashes and mantissas: there is nothing to compress
            use_dictionary=False,
        )
    return str(store.path(folder, name))
