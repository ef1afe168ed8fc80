"""What a release already holds of the sources whose files may go: the second place records are in.

    release ─ rows of each append source ─> a record each: key, uri, file, time
                                        └─> contenders: those whose own file holds the key no more

A source of `mode: append` loses no record with a file, or with a line of one: what was published
stays. The published table is then the only place where the record still stands.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from schemas.combinations import WHOLE_TIMES
from schemas.identity import digest_json
from schemas.manifest import Manifest
from schemas.reasons import Reason
from schemas.refs import RecordsPart, SourceListing
from schemas.spec import SourceSpec, SpaceSpec
from tasks.ingest.column_types import TIME, cast_column
from tasks.ingest.forgotten import without_forgotten
from tasks.table.companions import sql_string
from tasks.table.dataset import TableRef, open_version
from tasks.table.releases import Release

CONTENDERS = {
    "source": pl.String,
    "key": pl.String,
    "uri": pl.String,
    "rel": pl.String,
    "time": pl.Datetime("us", "UTC"),
}
"""A published record that its own file no longer vouches for; `rel` is that file's place."""


@dataclass(frozen=True)
class AppendSource:
    """One append source: how its published rows are to be understood.

    `roots` are the folders that its files lie in or have lain in, today's first. `columns` are
    (name in the table to be, arrow type, name in the release or None where it had none).
    """

    name: str
    kind: str
    roots: tuple[str, ...]
    time: str | None  # the release's column that holds the source's `time`
    columns: tuple[tuple[str, str, str | None], ...]
    thumbnails: bool
    tombstones: str  # path of the source's tombstones; "": it has none
    rekeyed: bool  # keys are read from another column than those of the release were


@dataclass(frozen=True)
class PublishedRef:
    """The release that stands, by reference, and the append sources that it may hold."""

    table: TableRef
    version: int
    build_id: str
    sources: tuple[AppendSource, ...]

    @property
    def digest(self) -> str:
        """Names what is read of it: a build id is never given twice, a version may be."""
        return digest_json(
            [self.table.path, self.version, self.build_id, [str(s) for s in self.sources]]
        )

    def open(self) -> Any:
        """The release's dataset."""
        return open_version(self.table, self.version)


def append_sources(
    table: TableRef, release: Release | None, spec: SpaceSpec, listings: Sequence[SourceListing]
) -> PublishedRef | None:
    """The release for the append sources that it may hold rows of; None where there is none."""
    if release is None:
        return None
    manifest = release.manifest
    listed = {listing.name: listing for listing in listings}
    before = {old["name"]: old for old in manifest.resolved_spec.get("sources", ())}
    sources = tuple(
        _append_source(source, before.get(source.name), listed[source.name], manifest)
        for source in spec.sources
        if source.mode == "append"
    )
    if not sources:
        return None
    return PublishedRef(table, release.version, manifest.build_id, sources)


def _append_source(
    source: SourceSpec, old: dict[str, Any] | None, listing: SourceListing, manifest: Manifest
) -> AppendSource:
    """`old` is the source in the release's own spec, None where that does not tell of it."""
    was: dict[str, list[str]] = {}
    for column in (old or {}).get("columns", ()):
        was.setdefault(column["name"], []).append(column.get("as") or column["name"])
    held = {target for targets in was.values() for target in targets}

    def name_before(name: str, target: str) -> str | None:
        """The same column of the files first; else what the table has under that name."""
        same = was.get(name, [])
        if old is None:
            return target
        return target if target in same or (not same and target in held) else next(iter(same), None)

    types = dict(listing.parts[0].columns)
    names = {c.target: name_before(c.name, c.target) for c in source.columns}
    whole = (None, *WHOLE_TIMES)
    times = [names[c.target] for c in source.columns if c.name == source.time and c.type in whole]
    return AppendSource(
        name=source.name,
        kind=source.kind,
        roots=source_roots(source, listing, manifest),
        time=next((name for name in times if name is not None), None),
        columns=tuple((target, types[target], name) for target, name in names.items()),
        thumbnails=listing.parts[0].thumbnails,
        tombstones=listing.parts[0].tombstones,
        rekeyed=old is not None and old.get("key") != source.key,
    )


def source_roots(
    source: SourceSpec, listing: SourceListing, before: Manifest | None
) -> tuple[str, ...]:
    """The folder that relative paths start in, and for an append source those of its past."""
    file = listing.parts[0].files[0]
    root = unicodedata.normalize("NFC", file.uri).removesuffix(f"/{file.key}")
    past: tuple[str, ...] = ()
    if source.mode == "append" and before is not None:
        past = next((old.roots for old in before.sources if old.name == source.name), ())
    return tuple(dict.fromkeys([root, *past]))


def relative(uri: pl.Expr, roots: Sequence[str]) -> pl.Expr:
    """The path below the first of `roots` that holds the file, NFC; the uri where none does."""
    path = uri.str.normalize("NFC")
    below = [
        pl.when(path.str.starts_with(f"{root}/")).then(path.str.slice(len(root) + 1))
        for root in roots
    ]
    return pl.coalesce(*below, path)


def source_rows(source: AppendSource) -> str:
    """The SQL filter of the source's rows. Rows of another kind were another source's."""
    return f"source = {sql_string(source.name)} AND kind = {sql_string(source.kind)}"


def find_contenders(published: PublishedRef, parts: Sequence[RecordsPart]) -> pl.DataFrame:
    """The published records (`CONTENDERS`) that their own file no longer holds, used or rejected.

    Where it does, what the file says now is the truth and what was published of it is not asked. A
    file that cannot be read says nothing. Where keys come from another column now, a file holds all
    its records under other keys, and none of the old ones stays. What was forgotten is no
    contender: an erasure that was killed leaves it in the release, and nothing may publish it
    again.
    """
    dataset = published.open()
    frames = [pl.DataFrame(schema=CONTENDERS)]
    for source in published.sources:
        records = _published_records(dataset, source)
        held = _keys_by_file([part for part in parts if part.source == source.name], source)
        told = ["rel"] if source.rekeyed else ["key", "rel"]
        alone = records.join(held, on=told, how="anti").select(list(CONTENDERS))
        frames.append(without_forgotten(alone, source.name, source.tombstones))
    return pl.concat(frames)


def _published_records(dataset: Any, source: AppendSource) -> pl.DataFrame:
    """The release's records of the source, one for all chunks, in table order."""
    known = source.time is not None and source.time in dataset.schema.names
    columns = ["key", "uri", *([source.time] if known else [])]
    frames = [pl.DataFrame(schema={name: CONTENDERS[name] for name in ("key", "uri", "time")})]
    for batch in dataset.to_batches(columns=columns, filter=source_rows(source)):
        given = batch.column(source.time) if known else pa.nulls(batch.num_rows)
        times, _ = cast_column(given, TIME)
        frame = pl.DataFrame(batch.select(["key", "uri"]))
        frames.append(frame.with_columns(time=pl.Series(times, dtype=CONTENDERS["time"])))
    records = pl.concat(frames).unique("key", keep="first", maintain_order=True)
    return records.with_columns(
        source=pl.lit(source.name), rel=relative(pl.col("uri"), source.roots)
    )


def _keys_by_file(parts: Sequence[RecordsPart], source: AppendSource) -> pl.DataFrame:
    """Each key that a file holds, be its record used or rejected: columns key, rel."""
    nothing = pl.DataFrame(schema={"key": pl.String, "uri": pl.String}).lazy()
    used = [pl.scan_parquet(part.path) for part in parts if part.records]
    rejected = [
        pl.scan_parquet(part.rejects.path).filter(
            pl.col("key").is_not_null(), pl.col("reason") != str(Reason.UNREADABLE_FILE)
        )
        for part in parts
        if part.rejects.records
    ]
    found = pl.concat([nothing, *(each.select("key", "uri") for each in (*used, *rejected))])
    return found.select("key", rel=relative(pl.col("uri"), source.roots)).unique().collect()
