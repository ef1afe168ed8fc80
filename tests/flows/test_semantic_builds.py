"""All three tiers in whole builds: where pointers end, over the builds of a space."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from random import Random

import lance
import numpy as np
import pytest

from made_words import sentence
from tasks.table.fits import read_fit
from tasks.table.vectors import matrix

THRESHOLD = 0.9
SPEC = {"near": {"threshold": 0.6}, "semantic": {"threshold": THRESHOLD}}


def write(space, records: dict[str, dict[str, str]]) -> None:
    """Make the sources hold exactly these texts: source → key → text."""
    for name, texts in records.items():
        lines = [json.dumps({"key": key, "text": text}) for key, text in texts.items()]
        (space.folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))


def set_sources(space, *names: str) -> None:
    common = {"kind": "text", "key": "key", "text": "text", "max_shrink": 1}
    space.changes["sources"] = [{"name": n, "path": f"{n}.jsonl", **common} for n in names]


def marks(space) -> dict[str, tuple]:
    """id → its verdict, kept rows too."""
    names = ["id", "duplicate_of", "duplicate_kind", "duplicate_score"]
    table = lance.dataset(space.ref.path, version="prod").to_table(columns=names)
    return {row.pop("id"): tuple(row.values()) for row in table.to_pylist()}


def check_pointers(space, within: str) -> None:
    """Every pointer of the release ends at something kept that it is alike to."""
    table = lance.dataset(space.ref.path, version="prod").to_table()
    unit = matrix(table.column("vector")).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    rows = {row["id"]: row for row in table.drop_columns(["vector"]).to_pylist()}
    at = {name: i for i, name in enumerate(rows)}
    kept = [name for name, row in rows.items() if row["duplicate_of"] is None]
    records = {name.partition("#")[0] for name in kept}
    for name, row in rows.items():
        of, score = row["duplicate_of"], row["duplicate_score"]
        if row["duplicate_kind"] == "near":
            assert of in records
            assert score >= np.float32(0.6)
        elif of is not None:
            assert of in kept
            cosine = float(unit[at[name]] @ unit[at[of]])
            assert score == pytest.approx(cosine, abs=1e-3)
            assert row["duplicate_kind"] == "semantic" or (
                row["content_hash"] == rows[of]["content_hash"]
            )
            assert score >= np.float32(THRESHOLD)
        if of is not None and within == "source":
            assert of.partition(":")[0] == row["source"]
    for n, one in enumerate(kept):  # no two kept rows are alike
        for other in kept[:n]:
            if within == "space" or rows[one]["source"] == rows[other]["source"]:
                assert unit[at[one]] @ unit[at[other]] < THRESHOLD + 1e-3


def draw_texts(draw: Random) -> dict[str, str]:
    """Records of a few short words: repeated, reordered, longer by one, or of their own."""
    texts: dict[str, str] = {}
    for _ in range(draw.randint(3, 14)):
        words = [draw.randrange(30) for _ in range(draw.randint(4, 40))]
        if texts and draw.random() < 0.6:
            words = [int(word[1:]) for word in draw.choice(list(texts.values())).split()]
            if draw.random() < 0.5:
                draw.shuffle(words)
            if draw.random() < 0.5:
                words[draw.randrange(len(words))] = draw.randrange(30)
        texts[f"k{draw.randrange(40):02}"] = sentence(*words)
    return texts


@pytest.mark.parametrize("within", ["space", "source"])
@pytest.mark.parametrize("seed", range(2))
def test_pointers_end_at_kept_rows_whatever_is_left_in_the_workdir(notes, within, seed) -> None:
    """Two spaces are built in step; one loses what was found of its duplicates after each."""
    draw = Random(seed)
    chunk = draw.choice([None, {"max_tokens": 12}])
    set_sources(notes, "docs", "faq")
    notes.changes |= {"dedupe": {**SPEC, "within": within}, "chunk": chunk}
    other = replace(notes, changes={**notes.changes, "uri": "./other", "workdir": "./other-work"})
    for _ in range(3):
        write(notes, {"docs": draw_texts(draw), "faq": draw_texts(draw)})
        for space in (notes, other):
            outcome = space.build(yes=True)
            assert outcome.exit_code == 0, outcome.message
            check_pointers(space, within)
        assert marks(notes) == marks(other)
        for folder in ("neighbours", "duplicates", "near", "pairs"):
            shutil.rmtree(notes.folder / "other-work" / folder, ignore_errors=True)
        assert "up to date" in other.build().message
    assert {kind for _, kind, _ in marks(notes).values()} >= {"semantic"}


def test_a_space_that_began_small_gets_cells_for_what_it_has(notes, texts, monkeypatch) -> None:
    """Cells are no clusters: no published row moves, and none is embedded."""
    monkeypatch.setattr("tasks.cluster.make_fit.FEW_ROWS", 50)
    notes.changes |= {"dedupe": SPEC, "cluster": {"k": 3}}
    first = notes.build().manifest
    texts |= {f"more{n}": sentence(n, n + 130, n + 270) for n in range(90)}
    notes.write(texts)
    second = notes.build().manifest
    old, new = (read_fit(notes.ref, each.fit_id).kinds["text"] for each in (first, second))
    assert (len(old.cells), len(new.cells)) == (2, 10)
    assert np.array_equal(old.centroids, new.centroids)
    assert (second.counts.new, second.counts.embedded) == (90, 90)
    assert second.counts.changed + second.counts.metadata_only + second.counts.removed == 0
    notes.write({**texts, "last": sentence(1, 2)})
    assert notes.build().manifest.fit_id == second.fit_id
