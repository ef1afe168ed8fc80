"""What is to be forgotten: whole records, by key, by an item's id, or by a condition on the table.

Request ── resolve ──> Asked: the records (source, key), and tombstones left unfinished
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from schemas.errors import UsageError
from schemas.identity import item_id, split_id
from tasks.table.tombstones import place_tombstone, places, tombstone

Record = tuple[str, str]
"""Source and key."""


@dataclass(frozen=True)
class Request:
    """What somebody asks to forget. `sources` narrow `keys`; none: every source of the space."""

    keys: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    where: str | None = None
    reason: str | None = None

    def check(self, known: Iterable[str]) -> None:
        """Raise `UsageError` for a request that names nothing, or an unknown source."""
        if not (self.keys or self.ids or self.sources or self.where is not None):
            raise UsageError("forget wants --key KEY, --id ID or --where SQL; nothing was named")
        if self.sources and not self.keys:
            raise UsageError(
                f"--source {self.sources[0]!r} narrows --key, which is not given; to forget a "
                f"whole source write --where \"source = '{self.sources[0]}'\""
            )
        sources = [("--source", source) for source in self.sources]
        sources += [(f"--id {name!r}", parse_id(name)[0]) for name in self.ids]
        for option, source in sources:
            if source not in set(known):
                raise UsageError(
                    f"{option}: the space has no source {source!r}; it has or had "
                    f"{', '.join(sorted(known))}"
                )
        if self.where is not None and not self.where.strip():
            raise UsageError(
                f"--where {self.where!r} is empty: expected SQL such as \"lang = 'de'\""
            )
        named = [*self.keys, *(key for _, key in map(parse_id, self.ids))]
        for key in named:
            if not key.strip():
                raise UsageError(f"--key {key!r} is blank: no record has such a key")
            if self.reason and names_key([key]).search(self.reason):
                raise UsageError(
                    "--reason names the key that is to be forgotten, and would be kept; say it "
                    "without the key (a ticket's number, for example)"
                )


@dataclass(frozen=True)
class Asked:
    """The records to erase. `unfinished` are tombstones whose keys are not known any more."""

    records: frozenset[Record]
    unfinished: frozenset[bytes] = frozenset()
    places: frozenset[str] = field(init=False)
    """`source:key` of the known records, as ids write it."""

    def __post_init__(self) -> None:
        found = frozenset(item_id(source, key, None) for source, key in self.records)
        object.__setattr__(self, "places", found)
        unknown = self.unfinished - {place_tombstone(place) for place in found}
        object.__setattr__(self, "unfinished", unknown)

    @property
    def hashes(self) -> frozenset[bytes]:
        """Every tombstone that this erasure is about."""
        return self.unfinished | {tombstone(*record) for record in self.records}

    def named(self, ids: pl.Series) -> pl.Series:
        """Whether each id (or `source:key`) is of one of the records; null ids are of none."""
        found = places(ids)
        wanted = list(self.places)
        if self.unfinished:
            every = found.unique().drop_nulls()
            wanted += [place for place in every if place_tombstone(place) in self.unfinished]
        return found.is_in(wanted).fill_null(False)

    def plus(self, records: Iterable[Record]) -> Asked:
        """The same with more records."""
        return Asked(self.records | frozenset(records), self.unfinished)


def parse_id(name: str) -> Record:
    """The record of an item's id; raises `UsageError` for what is no id."""
    try:
        return split_id(name)
    except ValueError as error:
        raise UsageError(f"--id {error}; to forget by key use --key") from error


def named_records(request: Request, sources: Iterable[str]) -> frozenset[Record]:
    """The records that the request names outright, in `sources` where it names none."""
    chosen = request.sources or tuple(sources)
    by_key = {(source, key) for key in request.keys for source in chosen}
    return frozenset(by_key | {parse_id(name) for name in request.ids})


def matching_records(dataset: Any, where: str) -> frozenset[Record]:
    """The records with a row in the dataset's version that meets the condition.

    Raises `UsageError` for what is no condition on this version's columns.
    """
    check_condition(dataset, where)
    found = dataset.to_table(columns=["source", "key"], filter=f"({where}\n)")
    return frozenset(pl.DataFrame(found).unique().iter_rows())


def check_condition(dataset: Any, where: str) -> None:
    """Have the condition planned, alone and as a function's argument, without reading a row.

    Lance's parser stops at a stray `)` or `;` and ignores the rest: as an argument the condition
    must be whole. What would be erased for half a condition cannot be brought back.
    """
    try:
        for condition in (where, f"coalesce({where}\n, false)", f"({where}\n)"):
            dataset.scanner(columns=["id"], filter=condition).explain_plan()
    except (OSError, RuntimeError, ValueError) as error:
        said = str(error).splitlines()[0].removeprefix("Invalid user input: ").rstrip(" .")
        raise UsageError(
            f"--where {where!r} is no condition for this table: {said}; expected SQL such as "
            "\"source = 'docs' AND lang IS NOT NULL\""
        ) from error


SHOWN = 60
"""Characters of a key that every verdict shows of it; a longer one may be cut behind them."""

PLAIN = 4
"""Characters from which a key that is no number is looked for as a word by itself. A shorter one,
or a number, stands everywhere by chance: it must stand as keys are shown, by a colon or quotes."""


def names_key(keys: Iterable[str]) -> Any:
    """A pattern that finds any of the keys in what people are told, as a whole word."""
    import re

    plain, quoted = set(), set()
    for key in keys:
        for said in {key, repr(key)[1:-1], item_id("x", key, None)[2:]}:
            short = re.escape(said[:SHOWN]) + ("" if len(said) > SHOWN else r"(?!\w)")
            (quoted if len(said) < PLAIN or said.isdigit() else plain).add(short)
    parts = [rf"(?<!\w)(?:{'|'.join(sorted(plain))})"] if plain else []
    if quoted:
        each = "|".join(sorted(quoted))
        parts += [rf"(?<=[:'\"])(?:{each})", rf"(?<!\w)(?:{each})(?=[:'\"])"]
    return re.compile("|".join(parts) or r"(?!)")
