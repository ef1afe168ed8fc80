"""Pictures of simple scenes with the captions that describe them, drawn from a seed.

    random_scene(rng) → Scene → .caption() and render(scene, rng) → PIL.Image

A scene is one or two coloured shapes on a plain background: "a big red star at the top left on
white", "a small blue ring left of a big green heart on grey". The vocabulary is closed
(`VOCABULARY`), so that a model of three million parameters can learn what every word means.
Shades, places, angles and sizes vary from picture to picture; the caption says what they mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 46, 42),
    "orange": (243, 140, 32),
    "yellow": (248, 212, 48),
    "green": (56, 160, 70),
    "blue": (44, 104, 210),
    "purple": (128, 62, 180),
    "pink": (244, 142, 190),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "ring", "cross")
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (246, 245, 242),
    "grey": (138, 141, 146),
    "black": (26, 27, 32),
}
SIZES: dict[str, tuple[float, float]] = {"small": (0.10, 0.13), "big": (0.20, 0.24)}
"""Radius as a share of the picture's width: from, to."""
PLACES: dict[str, tuple[float, float]] = {
    "top left": (0.27, 0.27),
    "top": (0.5, 0.27),
    "top right": (0.73, 0.27),
    "left": (0.27, 0.5),
    "centre": (0.5, 0.5),
    "right": (0.73, 0.5),
    "bottom left": (0.27, 0.73),
    "bottom": (0.5, 0.73),
    "bottom right": (0.73, 0.73),
}
RELATIONS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "left of": ((0.27, 0.5), (0.73, 0.5)),
    "right of": ((0.73, 0.5), (0.27, 0.5)),
    "above": ((0.5, 0.27), (0.5, 0.73)),
    "below": ((0.5, 0.73), (0.5, 0.27)),
}
"""Where the first and the second shape of a caption stand."""
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

VOCABULARY = (
    *("a", "at", "the", "of", "on", "small", "big"),
    *COLOURS,
    *SHAPES,
    *BACKGROUNDS,
    *("top", "bottom", "left", "right", "centre", "above", "below"),
)
"""Every word that a caption can hold."""

MODEL_FOLDER = Path(__file__).parent / "scene_clip"
"""The small CLIP that `train_clip` made of these scenes, as open_clip loads it."""

EDGES = (96, 128, 160)
"""Pixels a side: large enough to look at; the model sees all of them at 64."""

SINGLE_SHARE = 0.4
"""Share of scenes with one shape: fewer of them are distinct than of pairs."""

_FINER = 3  # shapes are drawn this much larger, then reduced: smooth edges
_SHADE = 12  # colours vary by this much of 255, backgrounds by half
_JITTER = 0.035  # places vary by this share of the picture's width
_TILT = 14.0  # shapes are turned by at most so many degrees


@dataclass(frozen=True)
class Thing:
    """One shape of a scene."""

    size: str
    colour: str
    shape: str

    def words(self, size: bool = True) -> str:
        """`a big red star`, or `a red star`."""
        return " ".join(["a", *([self.size] if size else []), self.colour, self.shape])


@dataclass(frozen=True)
class Scene:
    """What a picture shows: one thing at a place, or two things in a relation."""

    first: Thing
    background: str
    where: str  # a place, or the relation of `first` to `second`
    second: Thing | None = None

    def caption(self, size: bool = True, background: bool = True) -> str:
        """The caption, with or without the sizes and the background."""
        ground = f" on {self.background}" if background else ""
        if self.second is None:
            return f"{self.first.words(size)} at the {self.where}{ground}"
        return f"{self.first.words(size)} {self.where} {self.second.words(size)}{ground}"

    def turned(self) -> Scene:
        """The same picture told from the other thing: `left of` becomes `right of`."""
        if self.second is None:
            return self
        return Scene(self.second, self.background, OPPOSITE[self.where], self.first)

    @property
    def things(self) -> tuple[Thing, ...]:
        """Its one or two shapes."""
        return (self.first,) if self.second is None else (self.first, self.second)


def random_scene(rng: np.random.Generator) -> Scene:
    """A scene drawn evenly from all; the two things of a pair differ in colour and in shape."""
    first = _random_thing(rng)
    background = _choice(rng, tuple(BACKGROUNDS))
    if rng.random() < SINGLE_SHARE:
        return Scene(first, background, _choice(rng, tuple(PLACES)))
    second = _random_thing(rng)
    while second.colour == first.colour or second.shape == first.shape:
        second = _random_thing(rng)
    return Scene(first, background, _choice(rng, tuple(RELATIONS)), second)


def _random_thing(rng: np.random.Generator) -> Thing:
    return Thing(_choice(rng, tuple(SIZES)), _choice(rng, tuple(COLOURS)), _choice(rng, SHAPES))


def _choice(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    return names[int(rng.integers(len(names)))]


def render(scene: Scene, rng: np.random.Generator, edge: int | None = None) -> Image.Image:
    """Draw `scene` as an RGB picture of `edge` × `edge` pixels (None: one of `EDGES`)."""
    edge = edge or EDGES[int(rng.integers(len(EDGES)))]
    canvas = _gradient(_shade(BACKGROUNDS[scene.background], rng, _SHADE / 2), edge, rng)
    places = (PLACES[scene.where],) if scene.second is None else RELATIONS[scene.where]
    for thing, place in zip(scene.things, places, strict=True):
        _draw(canvas, thing, place, rng)
    return canvas


def _draw(
    canvas: Image.Image, thing: Thing, place: tuple[float, float], rng: np.random.Generator
) -> None:
    """Paint one thing with a soft shadow, around `place` (shares of the width)."""
    edge = canvas.width
    x, y = (np.asarray(place) + rng.uniform(-_JITTER, _JITTER, 2)) * edge
    radius = rng.uniform(*SIZES[thing.size]) * edge
    tilt = math.radians(rng.uniform(-_TILT, _TILT))
    mask = _mask(thing.shape, float(x), float(y), float(radius), tilt, edge)
    drop = max(1, edge // 50)
    shadow = mask.filter(ImageFilter.GaussianBlur(drop)).point([i * 2 // 5 for i in range(256)])
    canvas.paste((0, 0, 0), (drop, drop), shadow)
    canvas.paste(_gradient(_shade(COLOURS[thing.colour], rng), edge, rng), (0, 0), mask)


def _mask(shape: str, x: float, y: float, radius: float, tilt: float, edge: int) -> Image.Image:
    """The shape's coverage of each pixel: an L picture of the canvas's size."""
    fine = Image.new("L", (edge * _FINER, edge * _FINER))
    draw = ImageDraw.Draw(fine)
    x, y, radius = x * _FINER, y * _FINER, radius * _FINER
    if shape in ("circle", "ring"):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        if shape == "ring":
            hole = radius * 0.55
            draw.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
    else:
        turn = np.array(
            [[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]], np.float64
        )
        points = _OUTLINES[shape] @ turn * radius + (x, y)
        draw.polygon([(float(px), float(py)) for px, py in points], fill=255)
    return fine.reduce(_FINER)


def _outline(angles: list[float], radii: list[float]) -> np.ndarray:
    """Points at `angles` (degrees, 0 = up, clockwise) and `radii`: float64 `(n, 2)`."""
    turned = np.radians(np.asarray(angles) - 90)
    return np.stack([np.cos(turned), np.sin(turned)], axis=1) * np.asarray(radii)[:, None]


def _heart() -> np.ndarray:
    """The classic parametric heart, scaled to radius 1 and centred."""
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y - 2.5], axis=1) / 15.5


_ARM = 0.36  # half the width of the cross's arms

_OUTLINES: dict[str, np.ndarray] = {
    "square": _outline([45, 135, 225, 315], [1.15] * 4),
    "triangle": _outline([0, 120, 240], [1.2] * 3),
    "star": _outline([36.0 * i for i in range(10)], [1.15, 0.48] * 5),
    "heart": _heart(),
    "cross": np.array(
        [
            *((-_ARM, -1.05), (_ARM, -1.05), (_ARM, -_ARM), (1.05, -_ARM), (1.05, _ARM)),
            *((_ARM, _ARM), (_ARM, 1.05), (-_ARM, 1.05), (-_ARM, _ARM), (-1.05, _ARM)),
            *((-1.05, -_ARM), (-_ARM, -_ARM)),
        ]
    ),
}


def _shade(
    colour: tuple[int, int, int], rng: np.random.Generator, by: float = _SHADE
) -> np.ndarray:
    return np.asarray(colour, np.float32) + rng.uniform(-by, by, 3).astype(np.float32)


def _gradient(colour: np.ndarray, edge: int, rng: np.random.Generator) -> Image.Image:
    """A square of `colour` that is lit from one side."""
    angle = rng.uniform(0, 2 * np.pi)
    steps = np.linspace(-1, 1, edge, dtype=np.float32)
    light = 12 * (np.cos(angle) * steps[None, :] + np.sin(angle) * steps[:, None])
    pixels = colour[None, None, :] + light[:, :, None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGB")
