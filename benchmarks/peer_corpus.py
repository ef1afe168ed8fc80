"""The documents of `peers.py`: news items joined by three, and what one percent of change is.

    items of at most 280 characters → documents of three items → 1 % edited, 1 % added, 1 % deleted

Three items are a passage of usual length (140 tokens on average) and at most 215 tokens, so that
every document is one chunk of every system. No two documents are alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

MAX_CHARACTERS = 280
"""Of an item; three of them stay below the 254 tokens of all-MiniLM-L6-v2, the edit included."""

EDIT = "Corrected after publication."
"""What an edited document gains: a last paragraph."""


def read_items(path: Path) -> list[str]:
    """Title and body of the news items that are short enough, each text once, in file order."""
    rows = pq.read_table(path, columns=["title", "body"]).to_pylist()
    texts = [f"{row['title'].strip()}\n\n{row['body'].strip()}" for row in rows]
    return list(dict.fromkeys(text for text in texts if len(text) <= MAX_CHARACTERS))


def make_documents(items: Sequence[str], count: int) -> dict[str, str]:
    """`count` documents of three items each: file name → text, at most one for each item.

    Raises `ValueError` when there are fewer items than documents.
    """
    if count > len(items):
        raise ValueError(f"{count} documents asked for, {len(items)} can be made: ask for fewer")
    total = len(items)
    return {
        f"{i:05d}.txt": "\n\n".join(
            (items[i], items[(7 * i + 3) % total], items[(11 * i + 5) % total])
        )
        for i in range(count)
    }


@dataclass(frozen=True)
class Change:
    """What differs between two states of a folder: file names, and texts where there are any."""

    edited: Mapping[str, str]
    added: Mapping[str, str]
    deleted: tuple[str, ...]

    @property
    def to_embed(self) -> int:
        """Documents whose text has not been there before."""
        return len(self.edited) + len(self.added)


def one_percent(documents: Mapping[str, str], spare: Mapping[str, str]) -> Change:
    """One percent edited, as many deleted, spread over `documents`; all of `spare` added."""
    names = sorted(documents)
    count = share(len(names))
    step = len(names) // count
    edited = names[::step][:count]
    deleted = names[step // 2 :: step][:count]
    return Change(
        edited={name: f"{documents[name]}\n\n{EDIT}" for name in edited},
        added=dict(spare),
        deleted=tuple(deleted),
    )


def share(documents: int) -> int:
    """How many documents one percent is: at least one."""
    return max(1, documents // 100)


def changed(documents: Mapping[str, str], change: Change) -> dict[str, str]:
    """The documents after the change."""
    after = {**documents, **change.edited, **change.added}
    return {name: text for name, text in after.items() if name not in change.deleted}


def write(folder: Path, documents: Mapping[str, str]) -> None:
    """Make `folder` hold exactly these files; one whose text stands already is not touched."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        if file.name not in documents:
            file.unlink()
    for name, text in documents.items():
        file = folder / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
