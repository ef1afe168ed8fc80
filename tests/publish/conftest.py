"""A space whose content is a dict: what a build makes of it goes the whole way of publishing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.arrow import PLAN, items_schema, table_schema, vectors_schema
from schemas.identity import content_hashes, digest_bytes, row_hashes
from schemas.manifest import Counts, EmbedderRecord, Manifest
from schemas.refs import EmbedderRef, PlanRef
from tasks.publish.publish import publish
from tasks.publish.stage import Candidate, stage
from tasks.store.workdir import Store
from tasks.table.dataset import (
    TableRef,
    base_rows,
    ensure_table,
    open_main,
    open_version,
    read_tags,
)
from tasks.table.reconcile import reconcile
from tasks.table.releases import Release
from tasks.table.transaction import Base, take_base

DIMENSIONS = 8
LANG = pa.field("lang", pa.string())
MINI = EmbedderRef(
    kind="sentence-transformers",
    model="mini",
    folder="mini",
    fingerprint="f" * 32,
    dimensions=DIMENSIONS,
    engine="torch",
    precision="fp32",
    normalize=True,
    kinds=frozenset({"text"}),
    window=100,
    tokenizer=None,
    tokenizer_digest=None,
    prompt="",
    query_prompt="",
    truncate=None,
)


def vector_of(text: str) -> np.ndarray:
    """A unit vector that depends on the text alone."""
    seed = int.from_bytes(digest_bytes(text.encode())[:8], "big")
    vector = np.random.default_rng(seed).normal(size=DIMENSIONS)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@dataclass
class Space:
    """A space in a folder, and the few steps of a build that publishing needs around it."""

    root: Path
    columns: list[pa.Field] = field(default_factory=lambda: [LANG])
    index: str = "auto"
    tag: str = "prod"
    builds: int = 0
    uri: str = ""  # of the table; default: a folder beside the workdir
    storage_options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        self.ref = TableRef(self.uri or str(self.root / "db"), "notes", self.storage_options)
        self.store = Store(str(self.root / "workdir"))

    @property
    def schema(self) -> pa.Schema:
        return table_schema(DIMENSIONS, "float16", self.columns)

    def base(self, build_id: str | None = None) -> Base:
        """Reconcile and take the base of a new build."""
        self.builds += 1
        ensure_table(self.ref, self.schema)
        reconcile(self.ref, self.tag)
        return take_base(self.ref, build_id or f"build{self.builds}")

    def items(self, content: dict[str, str], langs: dict[str, str]) -> Path:
        """The items file of a content: key → text."""
        keys = list(content)
        table = pa.table(
            {
                "id": [f"docs:{key}" for key in keys],
                "source": ["docs"] * len(keys),
                "key": keys,
                "kind": ["text"] * len(keys),
                "chunk": pa.array([0] * len(keys), pa.int32()),
                "start": pa.array([0] * len(keys), pa.int32()),
                "end": pa.array([len(content[key]) for key in keys], pa.int32()),
                "text": [content[key] for key in keys],
                "uri": [f"/notes/{key}.txt" for key in keys],
                "locator": pa.nulls(len(keys), pa.string()),
                "content_hash": content_hashes(content.values()),
                "size": pa.array([len(content[key]) for key in keys], pa.int64()),
                "time": pa.nulls(len(keys), pa.timestamp("us", tz="UTC")),
                "thumbnail": pa.nulls(len(keys), pa.binary()),
                **{c.name: pa.array([langs.get(k) for k in keys], c.type) for c in self.columns},
            }
        )
        hashed = ["source", "key", "kind", "chunk", "start", "end", "uri"]
        hashes = row_hashes(table, [*hashed, *(c.name for c in self.columns)])
        table = table.append_column("row_hash", hashes)
        path = self.root / f"items{self.builds}.parquet"
        pq.write_table(table.select(items_schema(self.columns).names), path, row_group_size=7)
        return path

    def vectors(self, texts: set[str]) -> None:
        """Put the vectors of texts into the workdir."""
        ordered = sorted(texts)
        name = digest_bytes("\n".join(ordered).encode()).hex()
        values = np.array([vector_of(text) for text in ordered], np.float32).ravel()
        table = pa.table(
            [
                content_hashes(ordered),
                pa.FixedSizeListArray.from_arrays(pa.array(values, pa.float32()), DIMENSIONS),
            ],
            schema=vectors_schema(DIMENSIONS),
        )
        with self.store.create(f"vectors/{MINI.vector_key}", name) as path:
            pq.write_table(table, path)

    def plan(
        self,
        base: Base,
        content: dict[str, str],
        langs: dict[str, str] | None = None,
        overwrite: bool = False,
    ) -> PlanRef:
        """What turns the base into `content`."""
        part = self.items(content, langs or {})
        old = base_rows(open_version(base.ref, base.version))
        new = pl.DataFrame(
            pq.read_table(part, columns=["id", "content_hash", "row_hash"]).cast(
                pa.schema(
                    [("id", pa.string()), ("content_hash", pa.binary()), ("row_hash", pa.binary())]
                )
            )
        ).with_row_index("row")
        both = new.join(old, on="id", how="full", suffix="_old", coalesce=True)
        held = old.select("content_hash", vector_rowaddr="rowaddr").unique("content_hash")
        rows = both.join(held, on="content_hash", how="left").with_columns(
            pl.when(pl.col("row").is_null())
            .then(pl.lit("removed"))
            .when(pl.col("rowaddr").is_null())
            .then(pl.lit("new"))
            .when(pl.col("content_hash") != pl.col("content_hash_old"))
            .then(pl.lit("changed"))
            .when(pl.col("row_hash") != pl.col("row_hash_old"))
            .then(pl.lit("metadata_only"))
            .otherwise(pl.lit("unchanged"))
            .alias("class"),
            part=pl.when(pl.col("row").is_not_null()).then(pl.lit(str(part))),
        )
        fresh = set(content.values()) - self._published(base)
        if fresh:
            self.vectors(fresh)
        table = pa.table(
            {
                "id": rows["id"].to_arrow().cast(pa.string()),
                "class": rows["class"].to_arrow().cast(pa.string()),
                "content_hash": rows["content_hash"].to_arrow().cast(pa.binary(16)),
                "part": rows["part"].to_arrow().cast(pa.string()),
                "row": rows["row"].to_arrow().cast(pa.int64()),
                "duplicate_of": pa.nulls(rows.height, pa.string()),
                "duplicate_kind": pa.nulls(rows.height, pa.string()),
                "duplicate_score": pa.nulls(rows.height, pa.float32()),
                "rowaddr": rows["rowaddr"].to_arrow(),
                "vector_rowaddr": rows["vector_rowaddr"].to_arrow(),
            },
            schema=PLAN,
        )
        path = self.root / f"plan{self.builds}.parquet"
        pq.write_table(table, path)
        classes = dict(rows["class"].value_counts().iter_rows())
        return PlanRef(str(path), "", classes, len(fresh), overwrite, base.version)

    def _published(self, base: Base) -> set[str]:
        texts = open_version(base.ref, base.version).to_table(columns=["text"])["text"]
        return set(texts.to_pylist())

    def manifest(self, candidate: Candidate, plan: PlanRef) -> Manifest:
        """The manifest of a build."""
        counts = dict(plan.classes)
        rows = sum(n for name, n in counts.items() if name != "removed")
        counts |= {"rows": rows, "items": rows, "records": rows, "records_used": rows}
        return Manifest(
            space="notes",
            build_id=candidate.base.build_id,
            tag=self.tag,
            resolved_spec={"sources": [{"kind": "text"}], "publish": {"index": self.index}},
            counts=Counts.model_validate(counts),
            embedder=EmbedderRecord(
                fingerprint=MINI.fingerprint,
                kind=MINI.kind,
                model=MINI.model,
                dimensions=DIMENSIONS,
                precision="fp32",
                engine="torch",
            ),
            code_version="test",
            started_at=datetime.now(UTC),
        )

    def stage(
        self,
        content: dict[str, str],
        langs: dict[str, str] | None = None,
        overwrite: bool = False,
        build_id: str | None = None,
    ) -> tuple[Candidate, Manifest]:
        """Reconcile, plan and stage a build of `content`."""
        base = self.base(build_id)
        plan = self.plan(base, content, langs, overwrite)
        candidate = stage(base, plan, MINI, self.store, self.schema)
        return candidate, self.manifest(candidate, plan)

    def publish(self, content: dict[str, str], **more: object) -> Release:
        """A whole build of `content`: key → text."""
        candidate, manifest = self.stage(content, **more)  # type: ignore[arg-type]
        return publish(candidate, manifest)

    def content(self, version: int | str = "prod") -> dict[str, str]:
        """Key → text of what a version holds; every id once."""
        table = open_version(self.ref, version).to_table(columns=["id", "key", "text"])
        assert len(set(table["id"].to_pylist())) == table.num_rows
        return dict(zip(table["key"].to_pylist(), table["text"].to_pylist(), strict=True))

    def vector_of(self, text: str) -> np.ndarray:
        """The vector that the space's embedder makes of a text."""
        return vector_of(text)

    def tags(self) -> dict[str, int]:
        """Tag → version."""
        return {k: v["version"] for k, v in read_tags(open_main(self.ref)).items()}

    def files(self) -> set[str]:
        """Every file of the table's folder."""
        folder = Path(self.ref.path)
        return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def run_together() -> Callable[..., list]:
    """Run a function in several threads that start at the same moment; their results."""

    def run(function: Callable[[], object], times: int) -> list:
        barrier = Barrier(times)

        def one(_: int) -> object:
            barrier.wait()
            return function()

        with ThreadPoolExecutor(times) as pool:
            return list(pool.map(one, range(times)))

    return run


@pytest.fixture
def new_space(tmp_path: Path) -> Callable[..., Space]:
    """Make a space in the test's own folder."""
    return lambda name="one", **more: Space(tmp_path / name, **more)


@pytest.fixture
def space(new_space: Callable[..., Space]) -> Space:
    """An empty space."""
    made = new_space()
    made.root.mkdir()
    return made
