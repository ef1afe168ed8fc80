"""`<space>__fits`: every fit that a release names, one row for each centroid, cell, anchor or axis.

A fit is written before the commit that names it: one that no release names is harmless. It is
read by its id, whole, and is the same to the last bit. What is forgotten leaves it as an anchor.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from schemas.arrow import HASH
from schemas.errors import VecmillError
from schemas.identity import HASH_BYTES
from tasks.geometry.fit import AnchorMap, Fit, KindFit, PlaneMap
from tasks.store.hashes import frame_hashes
from tasks.table.companions import TIME, append_rows, sql_string
from tasks.table.dataset import TableRef, try_open

FITS = pa.schema(
    [
        pa.field("fit_id", pa.string(), nullable=False),
        pa.field("made_at", TIME, nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # text | image
        # fit | centroid | cell | anchor | mean | axis
        pa.field("role", pa.string(), nullable=False),
        pa.field("number", pa.int32(), nullable=False),  # centroid: the cluster's id
        pa.field("content_hash", HASH),  # of an anchor
        pa.field("vector", pa.list_(pa.float32())),
        pa.field("x", pa.float32()),  # of an anchor
        pa.field("y", pa.float32()),
        pa.field("radius", pa.float32()),  # of a centroid: 1 − cosine; inf: every row is within
        pa.field("detail", pa.string()),  # JSON, of the role fit: what is one value a kind
    ]
)

BATCH_ROWS = 4_096
"""Rows written together: 6 MB of vectors at 384 dimensions."""


FRESH = timedelta(days=1)
"""Age up to which a fit that is there is as good as written now: less than that of one that upkeep
removes, as no release may name it yet."""


def append_fit(ref: TableRef, fit: Fit) -> bool:
    """Write the fit unless it was written lately; whether it was.

    Two builders of the same fit may both write it: its rows are then read once.
    """
    made = _made(ref).filter(pl.col("fit_id") == fit.fit_id)["made_at"].max()
    if isinstance(made, datetime) and made > datetime.now(UTC) - FRESH:
        return False
    append_rows(ref.companion("fits"), FITS, _batches(fit, datetime.now(UTC)))
    return True


def has_fit(ref: TableRef, fit_id: str) -> bool:
    """Whether the companion holds the fit of that name."""
    dataset = try_open(ref.companion("fits"))
    where = f"fit_id = {sql_string(fit_id)} AND role = 'fit'"
    return dataset is not None and dataset.count_rows(where) > 0


def read_fit(ref: TableRef, fit_id: str) -> Fit:
    """The fit of that name. Raises `VecmillError` where the companion does not hold it."""
    dataset = try_open(ref.companion("fits"))
    rows = pl.DataFrame(FITS.empty_table())
    if dataset is not None:
        found = dataset.to_table(filter=f"fit_id = {sql_string(fit_id)}")
        rows = pl.DataFrame(found).unique(["kind", "role", "number"], keep="any")
    kinds = rows.filter(pl.col("role") == "fit")
    if not kinds.height:
        raise VecmillError(
            f"{ref.companion('fits').path} does not hold {fit_id!r}, which a release was made by; "
            "put the table back, or make a new fit with `vecmill maintain SPEC --refit`"
        )
    details = kinds.select("kind", "detail").iter_rows()
    return Fit(
        fit_id,
        {
            kind: _kind_fit(kind, json.loads(detail), rows.filter(pl.col("kind") == kind))
            for kind, detail in sorted(details)
        },
    )


def drop_anchors(ref: TableRef, contents: Collection[bytes]) -> int:
    """Delete the anchors of these contents from every fit; returns how many.

    By place, not by a condition: Lance keeps the text of that in the version's transaction.
    """
    import lance
    from lance.dataset import LanceOperation, Transaction

    dataset = try_open(ref.companion("fits"))
    if dataset is None or not contents:
        return 0
    changed, removed, dropped = [], [], 0
    for fragment in dataset.get_fragments():
        rows = pl.DataFrame(
            fragment.scanner(
                columns=["content_hash"], filter="role = 'anchor'", with_row_address=True
            ).to_table()
        )
        gone = rows.filter(pl.col("content_hash").is_in(list(contents)))["_rowaddr"].to_list()
        if not gone:
            continue
        dropped += len(gone)
        left = fragment.delete_rows([address & 0xFFFFFFFF for address in gone])
        if left is None:
            removed.append(fragment.fragment_id)
        else:
            changed.append(left)
    if dropped:
        operation = LanceOperation.Delete(changed, removed, "forgotten")
        lance.LanceDataset.commit(dataset, Transaction(dataset.version, operation))
    return dropped


def trim_fits(ref: TableRef, named: Collection[str], before: datetime) -> int:
    """Delete fits that are not `named` and were made before then; returns how many."""
    made = _made(ref)
    gone = sorted(fit for fit, at in made.iter_rows() if fit not in named and at < before)
    dataset = try_open(ref.companion("fits"))
    if gone and dataset is not None:
        # of a builder that makes one of them again meanwhile, the rows are younger
        old = f"made_at < timestamp '{before.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}'"
        dataset.delete(f"fit_id IN ({', '.join(map(sql_string, gone))}) AND {old}")
    return len(gone)


def free_ids(ref: TableRef) -> dict[str, int]:
    """Kind → the least cluster id that no fit has given yet."""
    dataset = try_open(ref.companion("fits"))
    if dataset is None:
        return {}
    rows = pl.DataFrame(dataset.to_table(columns=["kind", "number"], filter="role = 'centroid'"))
    return dict(rows.group_by("kind").agg(pl.col("number").max() + 1).iter_rows())


def _made(ref: TableRef) -> pl.DataFrame:
    """fit_id and made_at, the last time that it was written, of every fit."""
    dataset = try_open(ref.companion("fits"))
    columns = ["fit_id", "made_at"]
    found = FITS.empty_table().select(columns)
    if dataset is not None:
        found = dataset.to_table(columns=columns, filter="role = 'fit'")
    return pl.DataFrame(found).group_by("fit_id").agg(pl.col("made_at").max())


def _kind_fit(kind: str, detail: dict[str, Any], rows: pl.DataFrame) -> KindFit:
    roles = {
        str(role): some.sort("number")
        for (role,), some in rows.partition_by("role", as_dict=True).items()
    }
    dimensions = detail["dimensions"]

    def vectors(role: str) -> np.ndarray:
        return _matrix(roles.get(role), dimensions)

    centroids = roles.get("centroid", rows.clear())
    places: PlaneMap | AnchorMap | None = None
    if detail["map"] == "plane":
        places = PlaneMap(vectors("mean")[0], np.ascontiguousarray(vectors("axis").T))
    elif detail["map"] == "anchors":
        anchors = roles.get("anchor", rows.clear())
        places = AnchorMap(
            vectors("anchor"),
            anchors.select("x", "y").to_numpy().astype(np.float32).reshape(-1, 2),
            frame_hashes(anchors["content_hash"]),
        )
    return KindFit(
        kind=kind,
        method=detail["method"],
        rows=detail["rows"],
        centroids=vectors("centroid"),
        ids=centroids["number"].to_numpy().astype(np.int32),
        radii=centroids["radius"].to_numpy().astype(np.float32),
        reach=detail["reach"],
        cells=vectors("cell"),
        map=places,
    )


def _matrix(rows: pl.DataFrame | None, dimensions: int) -> np.ndarray:
    """float32 `(n, dimensions)` of the rows' vectors."""
    if rows is None or not rows.height:
        return np.empty((0, dimensions), np.float32)
    return rows["vector"].explode().to_numpy().astype(np.float32).reshape(-1, dimensions)


def _batches(fit: Fit, made_at: datetime) -> Iterator[pa.RecordBatch]:
    for kind, own in sorted(fit.kinds.items()):
        for table in _kind_tables(own):
            size = table.num_rows
            for name, value in (("kind", kind), ("made_at", made_at), ("fit_id", fit.fit_id)):
                kind_of = FITS.field(name).type
                table = table.add_column(0, name, pa.repeat(pa.scalar(value, kind_of), size))
            yield from table.select(FITS.names).cast(FITS).to_batches(BATCH_ROWS)


def _kind_tables(own: KindFit) -> Iterator[pa.Table]:
    shape = {PlaneMap: "plane", AnchorMap: "anchors"}
    detail = {
        "method": own.method,
        "rows": own.rows,
        "reach": own.reach,
        "dimensions": own.centroids.shape[1],
        "map": None if own.map is None else shape[type(own.map)],
    }
    yield _rows("fit", np.zeros(1), detail=pa.array([json.dumps(detail)]))
    yield _rows("centroid", own.ids, own.centroids, radius=pa.array(own.radii, pa.float32()))
    yield _rows("cell", np.arange(len(own.cells)), own.cells)
    if isinstance(own.map, PlaneMap):
        yield _rows("mean", np.zeros(1), own.map.mean[None])
        yield _rows("axis", np.arange(2), own.map.axes.T)
    elif isinstance(own.map, AnchorMap):
        hashes = np.ascontiguousarray(own.map.contents, f"S{HASH_BYTES}")
        buffers = [None, pa.py_buffer(hashes.tobytes())]
        yield _rows(
            "anchor",
            np.arange(len(hashes)),
            own.map.vectors,
            content_hash=pa.FixedSizeBinaryArray.from_buffers(HASH, len(hashes), buffers),
            x=pa.array(own.map.places[:, 0], pa.float32()),
            y=pa.array(own.map.places[:, 1], pa.float32()),
        )


def _rows(
    role: str, numbers: np.ndarray, vectors: np.ndarray | None = None, **columns: pa.Array
) -> pa.Table:
    """Rows of one role, every column of `FITS` but the fit's own three."""
    size = len(numbers)
    made: dict[str, Any] = {
        "role": pa.repeat(pa.scalar(role), size),
        "number": pa.array(numbers, pa.int32(), safe=False),
        **columns,
    }
    if vectors is not None:
        flat = np.ascontiguousarray(vectors, np.float32).ravel()
        ends = np.arange(size + 1, dtype=np.int32) * vectors.shape[1]
        made["vector"] = pa.ListArray.from_arrays(pa.array(ends), pa.array(flat))
    wanted = [field for field in FITS if field.name not in ("fit_id", "made_at", "kind")]
    return pa.table(
        {field.name: made.get(field.name, pa.nulls(size, field.type)) for field in wanted}
    )
