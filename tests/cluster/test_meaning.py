"""Real sentences by a real model: those about one thing are one cluster, and near on the map."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.spec import ClusterSpec, EmbedderSpec
from tasks.cluster.make_fit import Sample, make_fit
from tasks.embedders.load import load
from tasks.embedders.resolve import resolve
from tasks.geometry.place import Placed, place

DISHES = ("tomato soup", "lentil stew", "apple pie", "fried rice", "potato salad", "lemon cake")
TEAMS = ("Lions", "Harbour Rovers", "Red Socks", "Comets", "Old Boys", "Falcons")
BANKS = ("Northern", "Mercantile", "Savings", "Cantonal", "Provident", "Central")
SENTENCES = [
    *(f"Simmer the {dish} gently and season it with salt and pepper." for dish in DISHES),
    *(f"A recipe for {dish}: chop the vegetables, then bake for an hour." for dish in DISHES),
    *(f"The {team} won the football match with a goal in the last minute." for team in TEAMS),
    *(f"The coach of the {team} praised his players after the league game." for team in TEAMS),
    *(f"The {bank} Bank raised its interest rate on mortgages by a quarter." for bank in BANKS),
    *(f"Shares of the {bank} Bank fell as investors feared bad loans." for bank in BANKS),
]
SUBJECTS = np.repeat([0, 1, 2], 12)


@pytest.fixture(scope="module")
def vectors(minilm) -> np.ndarray:
    spec = EmbedderSpec(kind="sentence-transformers", model=minilm)
    return load(resolve(spec, frozenset({"text"}))).embed_texts(SENTENCES)


def placed(vectors: np.ndarray, spec: ClusterSpec) -> Placed:
    contents = np.array([b"%016d" % n for n in range(len(vectors))], "S16")
    made = make_fit({"text": Sample(vectors, contents, len(vectors))}, spec, semantic=False)
    return place(made.kinds["text"], vectors)


def test_the_subjects_are_the_clusters(vectors):
    found = placed(vectors, ClusterSpec(k=3)).cluster
    pairs = set(zip(found.tolist(), SUBJECTS.tolist(), strict=True))
    assert len(pairs) == 3


def test_no_cluster_that_is_chosen_mixes_subjects(vectors):
    found = placed(vectors, ClusterSpec()).cluster
    assert len(set(found.tolist())) >= 3
    for cluster in set(found.tolist()):
        assert len(set(SUBJECTS[found == cluster].tolist())) == 1


def test_the_nearest_on_the_map_is_of_the_same_subject(vectors):
    found = placed(vectors, ClusterSpec(k=3))
    at = np.stack([found.x, found.y], axis=1)
    away = np.linalg.norm(at[:, None] - at, axis=2) + np.diag(np.full(len(at), np.inf))
    assert (SUBJECTS[away.argmin(axis=1)] == SUBJECTS).mean() > 0.9
