"""What the picture can be coloured by: clusters, values with names, numbers and times in steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from schemas.identity import has_text_form
from tasks.query.snippet import one_line
from tasks.report.data import Colouring, MapLabel

COLOURS = 10
"""Colours that an eye tells apart, and the page's palette has; what is left is grey."""

COLOURINGS = 24
"""Columns that the picture can be coloured by: 3,000 codes each, some 200 KB of page in all."""

CROWD = 3 * COLOURS
"""Clusters from which on a colour stands for a part of the map: more of them, each in a colour that
its neighbours have not, look like confetti."""

STEPS = 6
"""Steps of a column of numbers or times, with the same number of points each."""

NAME = 40
"""Code points of a value in the legend."""

GREY = -1


def cluster_colouring(numbers: np.ndarray, labels: Sequence[MapLabel]) -> tuple[Colouring, ...]:
    """The colouring by cluster: int32 `(n)`, −1 for none; nothing where no row is in a cluster."""
    if not labels:
        return ()
    order = [label.cluster for label in labels]
    code = {number: at for at, number in enumerate(order)}
    codes = tuple(code.get(int(number), len(order)) for number in numbers)
    names = tuple(label.name for label in labels)
    tones = _apart(labels) if len(labels) <= CROWD else _sectors(labels)
    if len(order) in codes:
        names, tones = (*names, "in no cluster"), (*tones, GREY)
    return (Colouring("cluster", names, codes, tones),)


def _apart(labels: Sequence[MapLabel]) -> tuple[int, ...]:
    """A colour for each: those that share one stand as far apart on the map as can be."""
    places = np.array([(label.x, label.y) for label in labels])
    tones: list[int] = []
    for at, place in enumerate(places):
        if at < COLOURS:
            tones.append(at)
            continue
        away = np.linalg.norm(places[:at] - place, axis=1)
        mine = np.array(tones)
        nearest = [away[mine == tone].min() for tone in range(COLOURS)]
        tones.append(int(np.argmax(nearest)))
    return tuple(tones)


def _sectors(labels: Sequence[MapLabel]) -> tuple[int, ...]:
    """A colour for each: those that share one lie in the same direction from the middle."""
    places = np.array([(label.x, label.y) for label in labels])
    x, y = (places - np.median(places, axis=0)).T
    rank = np.argsort(np.argsort(np.arctan2(y, x), kind="stable"), kind="stable")
    return tuple((rank * COLOURS // len(labels)).tolist())


def colourings(rows: pa.Table, users: Sequence[str]) -> tuple[Colouring, ...]:
    """The columns with values to tell apart by colour; one of several values comes first."""
    found = []
    for name in ["source", *users, "duplicate_kind"]:
        column = rows.column(name)
        if not has_text_form(column.type) or len(found) == COLOURINGS:
            continue
        colouring = _steps(name, column) or _values(name, column)
        if name == "source" or len(colouring.names) > 1:
            found.append(colouring)
    return tuple(sorted(found, key=lambda colouring: len(colouring.names) < 2))


def _values(name: str, column: pa.ChunkedArray) -> Colouring:
    """The most frequent values by name; a column where each is rare has nothing to show."""
    values = pl.Series(name, column.cast(pa.string()))
    values = values.fill_null("kept" if name == "duplicate_kind" else "(none)")
    counted = values.value_counts(sort=False).sort(["count", name], descending=[True, False])
    shown = counted[name].head(COLOURS).to_list()
    covered = int(counted["count"].head(COLOURS).sum())
    if name != "source" and covered < len(values) / 10:
        return Colouring(name, (), ())
    order = sorted(shown)
    codes = values.replace_strict(
        order, list(range(len(order))), default=len(order), return_dtype=pl.Int64
    )
    names = tuple(one_line(value, NAME) or "(blank)" for value in order)
    tones = tuple(range(len(names)))
    if covered < len(values):
        names, tones = (*names, "other"), (*tones, GREY)
    return Colouring(name, names, tuple(codes.to_list()), tones)


def _steps(name: str, column: pa.ChunkedArray) -> Colouring | None:
    """Numbers and times from low to high, where they have too many values for a colour each."""
    if not (_is_number(column.type) or pa.types.is_temporal(column.type)):
        return None
    values = pl.Series(name, column)
    if values.dtype.is_float():
        values = values.fill_nan(None)
    known = values.drop_nulls().sort()
    if known.n_unique() <= COLOURS:
        return None
    cuts = [(len(known) * step) // STEPS for step in range(1, STEPS)]
    least = sorted({known[0], *(known[at] for at in cuts)})
    codes = np.zeros(len(values), np.int64)
    for edge in least[1:]:
        codes += (values >= edge).fill_null(False).to_numpy()
    ends = [known.filter(known < edge)[-1] for edge in least[1:]] + [known[-1]]
    names = [
        _said(low) if low == high else f"{_said(low)} – {_said(high)}"
        for low, high in zip(least, ends, strict=True)
    ]
    tones = list(range(STEPS - len(least), STEPS))
    if values.null_count():
        codes[values.is_null().to_numpy()] = len(names)
        names, tones = [*names, "(none)"], [*tones, GREY]
    return Colouring(name, tuple(names), tuple(codes.tolist()), tuple(tones), ordered=True)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _said(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}"
    return one_line(str(value), NAME)
