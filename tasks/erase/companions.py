"""The tables beside the space's: rejects of the records go, verdicts that name them are blanked.

`<space>__builds` is a log whose order counts, so it is written anew as a whole where a manifest
names a key. Then nothing but the newest version of each companion stays on disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from schemas.errors import VecmillError
from schemas.identity import item_ids
from tasks.erase.asked import Asked, Record, names_key
from tasks.erase.rows import clean
from tasks.table.dataset import STORAGE_VERSION, TableRef, try_open

BLANK = "(blanked: it named a record that was forgotten)"

REWRITES = 5
"""Tries of writing the log anew while somebody appends to it."""


@dataclass(frozen=True)
class HeldRejects:
    """Rejects of the records. `by_build`: build id → (source, level, reason, count) of each."""

    rows: int
    records: frozenset[Record]
    by_build: dict[str, tuple[tuple[str, str, str, int], ...]]
    items: dict[str, frozenset[Record]]  # build id → records with a rejected item


def held_rejects(ref: TableRef, asked: Asked) -> HeldRejects:
    """What `<space>__rejects` holds of the records."""
    dataset = try_open(ref.companion("rejects"))
    if dataset is None:
        return HeldRejects(0, frozenset(), {}, {})
    columns = ["build_id", "source", "key", "level", "reason"]
    rows = pl.DataFrame(dataset.to_table(columns=columns, filter="key IS NOT NULL"))
    pairs = rows.select("source", "key").unique()
    mine = pairs.filter(asked.named(_places(pairs.to_arrow())))
    rows = rows.join(mine, on=["source", "key"], how="semi")
    counts = rows.group_by("build_id", "source", "level", "reason").len()
    items = rows.filter(pl.col("level") == "item")
    return HeldRejects(
        rows.height,
        frozenset(mine.iter_rows()),
        {
            str(build): tuple(group.select("source", "level", "reason", "len").iter_rows())
            for (build,), group in counts.partition_by("build_id", as_dict=True).items()
        },
        {
            str(build): frozenset(group.select("source", "key").iter_rows())
            for (build,), group in items.partition_by("build_id", as_dict=True).items()
        },
    )


def drop_held_rejects(ref: TableRef, asked: Asked) -> None:
    """Delete the records' rejects, in every build.

    By place, not by a condition: Lance keeps the text of that in the version's transaction.
    """
    import lance
    from lance.dataset import LanceOperation, Transaction

    dataset = try_open(ref.companion("rejects"))
    if dataset is None:
        return
    changed, removed = [], []
    for fragment in dataset.get_fragments():
        found = fragment.scanner(columns=["source", "key"], with_row_address=True).to_table()
        gone = _reject_rows(found, asked)
        if not gone:
            continue
        left = fragment.delete_rows([address & 0xFFFFFFFF for address in gone])
        if left is None:
            removed.append(fragment.fragment_id)
        else:
            changed.append(left)
    if changed or removed:
        operation = LanceOperation.Delete(changed, removed, "forgotten")
        lance.LanceDataset.commit(dataset, Transaction(dataset.version, operation))


def _reject_rows(found: pa.Table, asked: Asked) -> list[int]:
    """Row addresses of the rejects of the records."""
    return pl.DataFrame(found).filter(asked.named(_places(found)))["_rowaddr"].to_list()


def _places(rows: pa.Table) -> pl.Series:
    """`source:key` of each row; null where it has no key."""
    sources, keys = (rows.column(name).cast(pa.string()) for name in ("source", "key"))
    return pl.Series("id", item_ids(sources, keys, None)).cast(pl.String)


def others(asked: Asked) -> Callable[[pa.RecordBatch], pa.Array]:
    """Which rows of a batch of rejects are not the records' (bool `[n]`)."""
    return lambda batch: pa.array((~asked.named(_places(batch))).to_numpy())


def blank_builds(ref: TableRef, asked: Asked) -> int:
    """Blank what names a key in `<space>__builds`; returns in how many of its rows."""
    import lance
    from lance.dataset import LanceOperation, Transaction
    from lance.fragment import write_fragments

    builds = ref.companion("builds")
    named = names_key(key for _, key in asked.records)
    for _ in range(REWRITES):
        dataset = try_open(builds)
        if dataset is None:
            return 0
        table = dataset.to_table(scan_in_order=True)
        rows = table.to_pylist()
        blanked = [blank_row(row, named) for row in rows]
        changed = sum(old != new for old, new in zip(rows, blanked, strict=True))
        if not changed:
            return 0
        fragments = write_fragments(
            pa.Table.from_pylist(blanked, table.schema),
            dataset.uri,
            schema=table.schema,
            mode="overwrite",
            data_storage_version=STORAGE_VERSION,
            storage_options=ref.options(),
        )
        operation = LanceOperation.Overwrite(table.schema, fragments)
        try:
            lance.LanceDataset.commit(
                dataset, Transaction(dataset.version, operation), max_retries=0
            )
        except OSError as error:
            if "conflict" not in str(error).lower():
                raise
            continue  # somebody appended: read again
        return changed
    raise VecmillError(
        f"{builds.path} was appended to {REWRITES} times while it was to be written anew, expected "
        "nobody at work on the space; run forget again"
    )


def blank_row(row: dict[str, Any], named: Any) -> dict[str, Any]:
    """A row of the log in which nothing that people are told names a key."""
    out = dict(row)
    if row.get("manifest"):
        manifest = json.loads(row["manifest"])
        telling = [a for a in manifest.get("audits", ()) if named.search(a["detail"])]
        for audit in telling:
            audit["detail"] = BLANK
        if telling:
            out["manifest"] = json.dumps(manifest, ensure_ascii=False)
    if row.get("after"):
        after = json.loads(row["after"])
        blanked = _blanked(after, named)
        if blanked != after:
            out["after"] = json.dumps(blanked, ensure_ascii=False)
    if row.get("reason") and named.search(row["reason"]):
        out["reason"] = BLANK
    return out


def _blanked(value: Any, named: Any) -> Any:
    """A JSON value without the strings that name a key."""
    if isinstance(value, dict):
        pairs = ((_blanked(k, named), _blanked(v, named)) for k, v in value.items())
        return dict(pairs)
    if isinstance(value, list):
        return [_blanked(each, named) for each in value]
    return BLANK if isinstance(value, str) and named.search(value) else value


def clean_companions(ref: TableRef) -> None:
    """Write deletions out and leave the newest version of each companion alone on disk."""
    for name in ("rejects", "fits"):
        dataset = try_open(ref.companion(name))
        if dataset is not None:
            dataset.optimize.compact_files(
                materialize_deletions=True, materialize_deletions_threshold=0.0
            )
    # of the log no row is ever deleted, and its order counts
    for name in ("rejects", "fits", "clusters", "builds"):
        clean(ref.companion(name))
