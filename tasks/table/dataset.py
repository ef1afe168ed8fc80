"""A space's table as a Lance dataset: where it lies, opening it, making it, reading its base rows.

The dataset at `<uri>/<space>.lance` is what `lancedb.connect(uri).open_table(space)` opens.
`lance` is imported inside the functions: commands that only need the names stay quick.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from schemas.errors import VecmillError
from schemas.refs import EmbedderRef
from schemas.spec import SpaceSpec
from tasks.store.opening import resolve_options
from tasks.table.object_store import reach, trouble

STORAGE_VERSION = "2.2"
"""Lance's file format, fixed here: what pylance 13 and lancedb 0.40 call stable."""

CREATED = "vecmill.created"
"""The property of the version that `ensure_table` makes: it tells our table from a stranger's."""

TAG_READS = 20
"""Tries of reading the tags while other builds delete and move theirs."""

TAG_WAIT = 0.01
"""Seconds waited before the next try, times the tries so far."""

TAG_CHANGED = ("not found", "while parsing", "trailing characters")
"""What Lance says of a tag that was deleted or moved while it was read."""

BASE_COLUMNS = ["id", "content_hash", "row_hash"]
BASE_COLUMNS += ["duplicate_of", "duplicate_kind", "duplicate_score"]


@dataclass(frozen=True)
class TableRef:
    """Where a table lies. `storage_options` holds (option, environment variable) pairs.

    The variables are read where the table is opened: a secret never travels in a reference.
    """

    uri: str
    space: str
    storage_options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, spec: SpaceSpec) -> TableRef:
        """The table of the spec's space."""
        return cls(spec.uri, spec.space, spec.storage_variables)

    @property
    def path(self) -> str:
        """The dataset's folder or URI."""
        return f"{self.uri.rstrip('/')}/{self.space}.lance"

    @property
    def local(self) -> Path | None:
        """The dataset's folder where it lies on this machine's file system, else None."""
        return None if "://" in self.path else Path(self.path)

    def companion(self, name: str) -> TableRef:
        """The table `<space>__<name>` beside this one."""
        return TableRef(self.uri, f"{self.space}__{name}", self.storage_options)

    def options(self) -> dict[str, str] | None:
        """The storage options with their values; raises `UsageError` for an unset variable."""
        return resolve_options(self.storage_options) or None


def try_open(ref: TableRef, version: int | str | None = None) -> Any | None:
    """The `lance.LanceDataset` at its latest version (or at `version`, or a tag), or None."""
    import lance

    local = ref.local
    if local is not None and not local.is_dir():
        return None
    reach(ref.uri, ref.storage_options)
    try:
        return lance.dataset(ref.path, version=version, storage_options=ref.options())
    except (ValueError, OSError) as error:
        if trouble(error):  # a bucket that is "404 Not Found" is no table that may be made
            raise
        if "not found" in str(error).lower() or "does not exist" in str(error):
            return None
        raise


def open_main(ref: TableRef) -> Any:
    """The dataset at the latest version of main; raises `VecmillError` where there is none."""
    dataset = try_open(ref)
    if dataset is None:
        raise VecmillError(
            f"no table {ref.space!r} at {ref.uri}: expected it at {ref.path}; "
            "build the space first, or look at `uri` and `space` of the spec"
        )
    return dataset


def open_version(ref: TableRef, version: int | str) -> Any:
    """The dataset at a version (detached ones too) or a tag; raises `VecmillError` if absent."""
    dataset = try_open(ref, version)
    if dataset is None:
        raise VecmillError(
            f"table {ref.space!r} at {ref.uri} has no version or tag {version!r}; "
            "`vecmill versions` lists what it has"
        )
    return dataset


def exists(ref: TableRef) -> bool:
    """Whether the table is there at all."""
    return try_open(ref) is not None


def ensure_table(ref: TableRef, schema: pa.Schema) -> Any:
    """Open the table, or create it empty with `schema`; two creators at once are fine.

    Not by `write_dataset(mode="create")`: of two at once the slower one *overwrites* the table,
    with whatever was published in between (measured: 18 of 30 races).
    """
    import lance
    from lance.dataset import LanceOperation, Transaction

    dataset = try_open(ref)
    if dataset is not None:
        return dataset
    if ref.local is not None:
        ref.local.parent.mkdir(parents=True, exist_ok=True)
    empty = Transaction(
        0, LanceOperation.Overwrite(schema, []), transaction_properties={CREATED: "1"}
    )
    try:
        return lance.LanceDataset.commit(
            ref.path, empty, max_retries=0, storage_options=ref.options()
        )
    except (OSError, ValueError):
        dataset = try_open(ref)  # somebody else was first
        if dataset is None:
            raise
        return dataset


def read_tags(dataset: Any) -> dict[str, dict[str, Any]]:
    """Tag → version, created_at and more.

    Lance lists names and sizes first. It fails when a tag is deleted before it is read, as every
    build's base tag is, and reads half of one that has grown since, as a moving tag does (seen on
    an object store): then it is asked again.
    """
    for attempt in range(TAG_READS):
        try:
            return dataset.tags.list()
        except (ValueError, OSError, RuntimeError) as error:
            if not any(sign in str(error).lower() for sign in TAG_CHANGED):
                raise
            time.sleep(TAG_WAIT * attempt)
    return dataset.tags.list()


def create_tag(dataset: Any, name: str, version: int) -> int:
    """Make the tag; returns the version it is on: another one where somebody made it before.

    An object store may do it and answer with an error: the request is then repeated, and refused
    since the tag is there. So after any error the tag is looked up.
    """
    try:
        dataset.tags.create(name, version)
    except (ValueError, OSError):
        standing = read_tags(dataset).get(name)
        if standing is None:
            raise
        return int(standing["version"])
    return version


def base_rows(dataset: Any) -> pl.DataFrame:
    """What a build plans from.

    Returns columns id, content_hash (binary), row_hash (binary), duplicate_of, duplicate_kind,
    duplicate_score (float32), rowaddr (uint64: fragment << 32 | offset), in table order.
    """
    missing = [name for name in BASE_COLUMNS if name not in dataset.schema.names]
    if missing:
        raise VecmillError(
            f"the table {dataset.uri} has no column {missing[0]!r}, so vecmill did not make it: "
            "choose another `space`, or another `uri`"
        )
    table = dataset.to_table(columns=BASE_COLUMNS, with_row_address=True)
    frame = pl.DataFrame(table)  # fixed binary becomes binary
    return frame.rename({"_rowaddr": "rowaddr"}).select(*BASE_COLUMNS, "rowaddr")


def embedding_metadata(ref: EmbedderRef) -> dict[bytes, bytes]:
    """Schema metadata with which LanceDB embeds queries by itself; `{}` where it could not.

    LanceDB's sentence-transformers function knows neither prompts, revisions nor Matryoshka
    dimensions, and only hub models: with any of these it would embed queries in another space.
    """
    same_space = not ref.query_prompt and ref.truncate is None and ref.revision is None
    if ref.kind != "sentence-transformers" or ref.hub_id is None or not same_space:
        return {}
    function = {
        "name": "sentence-transformers",
        "model": {
            "name": ref.hub_id,
            "device": "cpu",
            "normalize": ref.normalize,
            "trust_remote_code": False,  # LanceDB's own default is True
        },
        "source_column": "text",
        "vector_column": "vector",
    }
    return {b"embedding_functions": json.dumps([function]).encode()}
