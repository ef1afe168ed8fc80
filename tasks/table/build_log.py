"""What builds read of `<space>__builds`: columns of a few bytes, and the manifests they want alone.

A record's manifest is kilobytes, and the log only grows: a build that changes nothing must not
pay for the year before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

import polars as pl

from schemas.manifest import Manifest
from tasks.table.companions import sql_string
from tasks.table.dataset import TableRef, try_open

RATED_BUILDS = 5
"""Builds that the embedding rate is the median of: one that shared the machine is no measure."""

MANIFESTS_AT_ONCE = 8
"""Manifests read together, walking back."""

MANIFESTS_AT_MOST = 64
"""Builds looked back at: where none of these embedded anything, an older rate says little."""


def has_record(ref: TableRef, build_id: str) -> bool:
    """Whether the build has a record in the log."""
    dataset = try_open(ref.companion("builds"))
    where = f"event = 'build' AND build_id = {sql_string(build_id)}"
    return dataset is not None and dataset.count_rows(filter=where) > 0


def recorded_builds(ref: TableRef) -> list[str]:
    """The ids of all recorded builds, in the order in which they ended first."""
    return [row["build_id"] for row in _builds(ref, ["build_id"]).iter_rows(named=True)]


def last_input_hash(ref: TableRef) -> str | None:
    """The input hash of the last build that nothing refused; None where there is none."""
    builds = _builds(ref, ["build_id", "refused_by", "input_hash"])
    stood = builds.filter(pl.col("refused_by").list.len().fill_null(0) == 0)
    return None if stood.is_empty() else stood["input_hash"][-1]


def embedding_rate_of(ref: TableRef) -> float | None:
    """Contents embedded a second: the median of the last builds that embedded any."""
    rates: list[float] = []
    for manifest in latest_manifests(ref):
        embedded, seconds = manifest.counts.embedded, manifest.timings.embed
        if embedded and seconds:
            rates.append(embedded / seconds)
        if len(rates) == RATED_BUILDS:
            break
    return median(rates) if rates else None


def latest_manifests(ref: TableRef, most: int = MANIFESTS_AT_MOST) -> Iterator[Manifest]:
    """The manifests of the last `most` builds, the newest first, a few read at a time."""
    dataset = try_open(ref.companion("builds"))
    if dataset is None:
        return
    addresses = _addresses(dataset)[::-1][:most]
    for start in range(0, len(addresses), MANIFESTS_AT_ONCE):
        wanted = addresses[start : start + MANIFESTS_AT_ONCE]
        found = dataset.to_table(
            columns=["manifest"],
            filter=f"_rowaddr IN ({','.join(map(str, wanted))})",
            with_row_address=True,
        ).to_pylist()
        texts = {row["_rowaddr"]: row["manifest"] for row in found}
        for address in wanted:
            yield Manifest.from_json(texts[address])


def _addresses(dataset: Any) -> list[int]:
    """Row addresses of the builds' last records, in the order in which the builds ended."""
    found = dataset.to_table(
        columns=["build_id"], filter="event = 'build'", with_row_address=True, scan_in_order=True
    )
    return list(_once(pl.DataFrame(found))["_rowaddr"])


def _builds(ref: TableRef, columns: list[str]) -> pl.DataFrame:
    """These columns of each build's last record, in the order in which the builds ended."""
    dataset = try_open(ref.companion("builds"))
    if dataset is None:
        return pl.DataFrame(schema={"build_id": pl.String, "refused_by": pl.List(pl.String)})
    found = dataset.to_table(columns=columns, filter="event = 'build'", scan_in_order=True)
    return _once(pl.DataFrame(found))


def _once(records: pl.DataFrame) -> pl.DataFrame:
    """One row for each build: at the place of its first record, with what its last one says.

    A published build that seemed killed may have been recorded by another, and then by itself.
    """
    others = pl.exclude("build_id").last()
    return records.group_by("build_id", maintain_order=True).agg(others)
