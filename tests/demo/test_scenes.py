"""Scenes: the caption says what is drawn, and a seed always draws the same."""

from __future__ import annotations

import numpy as np
import pytest

from flows.demo.scenes import COLOURS, VOCABULARY, Scene, Thing, random_scene, render

RED_STAR = Thing("big", "red", "star")
BLUE_RING = Thing("small", "blue", "ring")


def test_caption_of_one_thing() -> None:
    scene = Scene(RED_STAR, "white", "top left")
    assert scene.caption() == "a big red star at the top left on white"
    assert scene.caption(size=False, background=False) == "a red star at the top left"


def test_caption_of_two_things_can_be_told_from_either() -> None:
    scene = Scene(RED_STAR, "grey", "left of", BLUE_RING)
    assert scene.caption() == "a big red star left of a small blue ring on grey"
    assert scene.turned().caption() == "a small blue ring right of a big red star on grey"
    assert scene.turned().turned() == scene


def test_captions_keep_to_the_vocabulary() -> None:
    rng = np.random.default_rng(0)
    words = {word for _ in range(500) for word in random_scene(rng).caption().split()}
    assert words == set(VOCABULARY)


def test_the_same_seed_draws_the_same_picture() -> None:
    first, second = (render(_scene(4), np.random.default_rng(4)) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    assert first.tobytes() != render(_scene(4), np.random.default_rng(5)).tobytes()


@pytest.mark.parametrize(
    ("where", "place"), [("top left", (26, 26)), ("centre", (48, 48)), ("bottom right", (70, 70))]
)
def test_the_thing_stands_where_the_caption_says(where: str, place: tuple[int, int]) -> None:
    picture = render(
        Scene(Thing("big", "red", "circle"), "black", where), np.random.default_rng(1), 96
    )
    assert np.allclose(picture.getpixel(place), COLOURS["red"], atol=30)


def _scene(seed: int) -> Scene:
    return random_scene(np.random.default_rng(seed))
