"""A release's rows as parquet for a program that draws them: all that people look at, no vectors.

rows of one kind that have a place on the map, in batches → rows.parquet
clusters with their names, each at its typical row        → labels.parquet
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import UsageError
from tasks.geometry.typical import typical_points
from tasks.table.clusters import ClusterRecord

LEFT = {"vector", "content_hash", "row_hash", "kind", "chunk", "start", "end"}
"""Columns of the contract that are large, or of no use to an eye."""

NAMES = "cluster_name"
"""The column with the names of clusters, beside their numbers."""

BATCH_ROWS = 8_192

PLACED = "x IS NOT NULL AND y IS NOT NULL"


@dataclass(frozen=True)
class MapExport:
    """Files for a map: `text` and `image` name the columns to show, where there is one."""

    rows: Path
    labels: Path | None
    count: int
    kind: str
    text: str | None
    image: str | None
    others: dict[str, int]  # rows of other kinds, which have a map of their own


def export_map(
    dataset: Any,
    records: Sequence[ClusterRecord],
    folder: Path,
    kind: str | None = None,
    *,
    kept: bool = False,
) -> MapExport:
    """Write the rows of `kind` (None: the kind with most of them) into `folder`.

    `kept` leaves duplicates out. Raises `UsageError` where no row has a place on a map.
    """
    only = " AND duplicate_of IS NULL" if kept else ""
    counts = {name: _count(dataset, name, only) for name in ("text", "image")}
    chosen = kind or max(counts, key=lambda name: counts[name])
    if not counts[chosen]:
        raise UsageError(
            f"no row of kind {chosen!r} has a place on a map (x and y are null), so there is "
            "nothing to draw: write `cluster: {map: pca}` in the spec (or umap) and build; "
            "`vecmill report` draws a picture without one"
        )
    where = f"kind = '{chosen}' AND {PLACED}{only}"
    names = {each.cluster: each.name for each in records if each.kind == chosen}
    pictures = chosen == "image" and _any(dataset, f"{where} AND thumbnail IS NOT NULL")
    rows = folder / "rows.parquet"
    _write(dataset, where, names, rows, pictures=pictures)
    return MapExport(
        rows=rows,
        labels=_labels(dataset, where, names, folder / "labels.parquet"),
        count=counts[chosen],
        kind=chosen,
        text="text" if chosen == "text" else None,
        image="thumbnail" if pictures else None,
        others={name: n for name, n in counts.items() if n and name != chosen},
    )


def _count(dataset: Any, kind: str, only: str) -> int:
    return dataset.count_rows(f"kind = '{kind}' AND {PLACED}{only}")


def _any(dataset: Any, where: str) -> bool:
    return dataset.to_table(columns=["id"], filter=where, limit=1).num_rows > 0


def _write(dataset: Any, where: str, names: dict[int, str], path: Path, *, pictures: bool) -> None:
    """Stream the rows; only pictures have a thumbnail, and only texts a text."""
    left = LEFT | ({"text"} if pictures else {"thumbnail"})
    columns = [name for name in dataset.schema.names if name not in left]
    schema = pa.schema([dataset.schema.field(name).with_nullable(True) for name in columns])
    named = NAMES if NAMES not in columns else f"vecmill_{NAMES}"
    schema = schema.append(pa.field(named, pa.string()))
    batches = dataset.scanner(columns=columns, filter=where, batch_size=BATCH_ROWS).to_batches()
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batches:
            numbers = batch.column("cluster").to_pylist()
            said = pa.array([names.get(number) for number in numbers], pa.string())
            arrays = [*(batch.column(name) for name in columns), said]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _labels(dataset: Any, where: str, names: dict[int, str], path: Path) -> Path | None:
    """The names of the clusters at their typical rows: columns x, y, text; None without names."""
    found = dataset.to_table(columns=["cluster", "x", "y"], filter=where)
    places = np.stack([found.column(name).to_numpy() for name in ("x", "y")], axis=1)
    typical = typical_points(places, found.column("cluster").fill_null(-1).to_numpy())
    rows = [
        {"x": float(places[at, 0]), "y": float(places[at, 1]), "text": names[number]}
        for number, at in sorted(typical.items())
        if number in names
    ]
    if not rows:
        return None
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path
