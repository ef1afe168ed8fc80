"""`<space>__clusters`: what each cluster of a build is about, how large it is, who stands for it.

Rows are written before the commit of their build, as rejects are, and taken back where it fails. A
build without change writes none: whoever asks for them gets those of the release that stands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pyarrow as pa

from schemas.manifest import Manifest
from tasks.table.companions import TIME, append_rows, sql_string
from tasks.table.dataset import STORAGE_VERSION, TableRef, try_open

CLUSTERS = pa.schema(
    [
        pa.field("build_id", pa.string(), nullable=False),
        pa.field("at", TIME, nullable=False),
        pa.field("fit_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # text | image
        pa.field("cluster", pa.int32(), nullable=False),  # as in the table; −1 has no row
        pa.field("label", pa.string()),  # null: pictures without words for them
        pa.field("terms", pa.list_(pa.string()), nullable=False),  # best first
        pa.field("size", pa.int64(), nullable=False),  # rows of the build, duplicates too
        pa.field("centroid", pa.list_(pa.float32()), nullable=False),  # unit length
        pa.field("representatives", pa.list_(pa.string()), nullable=False),  # ids, nearest first
    ]
)

LABEL_TERMS = 3
"""Terms that make a label: four of them do not fit beside each other on a map."""


@dataclass(frozen=True)
class ClusterRecord:
    """One cluster of one build. `terms` are made with the fit, the rest is of the build."""

    fit_id: str
    kind: str
    cluster: int
    terms: tuple[str, ...]
    size: int
    centroid: np.ndarray  # float32 (d), unit length
    representatives: tuple[str, ...]

    @property
    def label(self) -> str | None:
        """The first terms, in one line; None where there are none."""
        return ", ".join(self.terms[:LABEL_TERMS]) or None

    @property
    def name(self) -> str:
        """The label, or the number where there is none."""
        return self.label or f"cluster {self.cluster}"


def append_clusters(ref: TableRef, build_id: str, records: Sequence[ClusterRecord]) -> None:
    """Write the clusters of a build, as one commit; nothing where there are none."""
    if records:
        append_rows(ref.companion("clusters"), CLUSTERS, [_batch(build_id, records)])


def drop_clusters(ref: TableRef, build_id: str) -> None:
    """Take back what `append_clusters` wrote of a build that did not publish after all."""
    dataset = try_open(ref.companion("clusters"))
    if dataset is not None:
        dataset.delete(f"build_id = {sql_string(build_id)}")


def copy_clusters(ref: TableRef, build_id: str, to: str) -> None:
    """Give the build `to` the clusters of `build_id`, once: its release has the same rows."""
    if not read_clusters(ref, to):
        append_clusters(ref, to, read_clusters(ref, build_id))


def read_clusters(ref: TableRef, build_id: str) -> list[ClusterRecord]:
    """The clusters of a build by kind and number; none where it wrote none."""
    dataset = try_open(ref.companion("clusters"))
    if dataset is None:
        return []
    found = dataset.to_table(filter=f"build_id = {sql_string(build_id)}").to_pylist()
    # two that finish one rollback may both have written them
    rows = {(row["kind"], row["cluster"]): row for row in found}
    return [
        ClusterRecord(
            row["fit_id"],
            row["kind"],
            row["cluster"],
            tuple(row["terms"]),
            row["size"],
            np.array(row["centroid"], np.float32),
            tuple(row["representatives"]),
        )
        for _, row in sorted(rows.items())
    ]


def clusters_for(ref: TableRef, manifest: Manifest) -> list[ClusterRecord]:
    """The clusters that the rows of `manifest`'s build have.

    A build that wrote none of its own (it was refused, or changed nothing) gets those of the last
    one with the same fit: its labels are right, its sizes nearly.
    """
    own = read_clusters(ref, manifest.build_id)
    if own or manifest.fit_id is None:
        return own
    dataset = try_open(ref.companion("clusters"))
    if dataset is None:
        return []
    where = f"fit_id = {sql_string(manifest.fit_id)}"
    builds = dataset.to_table(columns=["build_id"], filter=where, scan_in_order=True)
    return read_clusters(ref, builds.column("build_id")[-1].as_py()) if builds.num_rows else []


def trim_clusters(ref: TableRef, kept: Collection[str], before: datetime) -> int:
    """Drop the clusters of builds that are not `kept` and wrote them before then.

    A younger one may be of a build under way. Returns how many rows went.
    """
    dataset = try_open(ref.companion("clusters"))
    if dataset is None:
        return 0
    found = pl.DataFrame(dataset.to_table(columns=["build_id", "at"]))
    gone = found.filter(~pl.col("build_id").is_in(list(kept)) & (pl.col("at") < before))
    if gone.height:
        builds = ", ".join(map(sql_string, gone["build_id"].unique().sort()))
        dataset.delete(f"build_id IN ({builds})")
    return gone.height


def blank_clusters(ref: TableRef, build_id: str, records: Sequence[ClusterRecord]) -> None:
    """Write the companion anew: `records` are those of `build_id`, others lose what rows said.

    Terms come from texts and representatives are ids, so of other builds sizes and centroids alone
    stay. One commit that replaces every row; older versions stay until they are cleaned away.
    """
    import lance

    companion = ref.companion("clusters")
    dataset = try_open(companion)
    if dataset is None:
        return
    builds = dataset.to_table(columns=["build_id"], scan_in_order=True).column("build_id")
    others = [each for each in dict.fromkeys(builds.to_pylist()) if each != build_id]
    batches = [_batch(each, [_blank(one) for one in read_clusters(ref, each)]) for each in others]
    if records:
        batches.append(_batch(build_id, records))
    lance.write_dataset(
        pa.RecordBatchReader.from_batches(CLUSTERS, batches),
        dataset.uri,
        mode="overwrite",
        data_storage_version=STORAGE_VERSION,
        storage_options=companion.options(),
    )


def _blank(record: ClusterRecord) -> ClusterRecord:
    """Words that pictures were given come from a list of our own, and stay."""
    terms = record.terms if record.kind == "image" else ()
    return replace(record, terms=terms, representatives=())


def _batch(build_id: str, records: Iterable[ClusterRecord]) -> pa.RecordBatch:
    now = datetime.now(UTC)
    rows = [
        {
            "build_id": build_id,
            "at": now,
            "fit_id": each.fit_id,
            "kind": each.kind,
            "cluster": each.cluster,
            "label": each.label,
            "terms": list(each.terms),
            "size": each.size,
            "centroid": each.centroid.tolist(),
            "representatives": list(each.representatives),
        }
        for each in sorted(records, key=lambda each: (each.kind, each.cluster))
    ]
    return pa.RecordBatch.from_pylist(rows, CLUSTERS)
