"""Signatures of pictures in the `workdir`: what they take there, and that each is found again."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from made_pictures import jpeg, made_picture_records, scene

from schemas.identity import digest_bytes
from tasks.dedupe.pictures.phash import SIGNATURE_BYTES
from tasks.dedupe.pictures.picture_signatures import (
    SIGNATURE_KEY,
    keep_signatures,
    sign_pictures,
)
from tasks.store.merging import FEWEST_FILES, merge_vectors
from tasks.store.vectors import release_vectors, vectors_folder
from tasks.store.workdir import Store

EACH = 300


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "work"))


def kept(store: Store, files: int) -> dict[bytes, np.ndarray]:
    """Made-up signatures of that many files, by content."""
    rng = np.random.default_rng(files)
    signed = rng.integers(0, 256, (files, EACH, SIGNATURE_BYTES), np.uint8)
    made: dict[bytes, np.ndarray] = {}
    for values in signed:
        contents = [rng.bytes(16) for _ in range(EACH)]
        keep_signatures(contents, values, store)
        made |= dict(zip(contents, values, strict=True))
    return made


def test_a_signature_takes_its_bytes_and_its_hash(store):
    kept(store, 1)
    [file] = store.files(vectors_folder(SIGNATURE_KEY))
    assert file.stat().st_size < 1.1 * EACH * (SIGNATURE_BYTES + 16)


def test_each_is_found_again_also_when_upkeep_has_merged_the_files(store):
    expected = kept(store, FEWEST_FILES)
    contents = list(expected)[::-1]
    asked = pl.DataFrame({"content_hash": contents, "part": "", "row": 0})
    found = sign_pictures(asked, store)
    assert merge_vectors(store, lambda: True) == FEWEST_FILES
    release_vectors()
    again = sign_pictures(asked, store)
    for signed in (found, again):
        assert signed.usable.all()
        assert (signed.values == [expected[content] for content in contents]).all()


def test_of_a_large_part_the_row_groups_with_new_pictures_are_read(store, tmp_path, monkeypatch):
    files = {f"{seed}.jpg": jpeg(scene(seed)) for seed in range(9)}
    part = made_picture_records(store, tmp_path / "files", files)
    pq.write_table(pq.read_table(part.path), part.path, row_group_size=3)
    rows = [1, 6, 8]
    contents = [digest_bytes(data) for data in files.values()]
    asked = pl.DataFrame(
        {"content_hash": [contents[row] for row in rows], "part": part.path, "row": rows}
    )
    read: list[int] = []
    batches = pq.ParquetFile.iter_batches

    def watched(self, size, groups=None, *rest, **named):
        read.extend(groups or [])
        return batches(self, size, groups, *rest, **named)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    signed = sign_pictures(asked, store)
    assert read[:2] == [0, 2]
    assert signed.usable.all()
    monkeypatch.undo()
    release_vectors()
    whole = Store(str(tmp_path / "whole"))
    every = pl.DataFrame({"content_hash": contents, "part": part.path, "row": range(9)})
    assert (sign_pictures(every, whole).values[rows] == signed.values).all()
