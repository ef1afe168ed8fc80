"""The file a user writes: one YAML file, one `SpaceSpec`, one vector table.

Every field has a description and, but for `space`, `uri`, `sources` and `embedder`, a default.
A part that is not built yet defaults to off here and is refused by name in `schemas.unbuilt`
when the file asks for it. `schemas.load` reads the YAML and reports every mistake at once.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from schemas.reasons import RETRIABLE

Kind = Literal["text", "image"]
Severity = Literal["off", "warn", "refuse"]

Name = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*_?$", max_length=100),
]
"""`[a-z][a-z0-9_]*` without `__` (which separates a table from its companions)."""

Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", max_length=100)]

ColumnType = Literal[
    "string",
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "float32",
    "float64",
    "date",
    "timestamp",
    "list<string>",
]
"""The types a column can be cast to; `timestamp` is microseconds in UTC."""


class Model(BaseModel):
    """A frozen model that refuses unknown keys; `model` is a legal field name."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ColumnSpec(Model):
    """A column carried into the table, perhaps under another name or type."""

    name: str = Field(min_length=1, description="The column's name in the source.")
    as_: str | None = Field(
        None, alias="as", min_length=1, description="Its name in the table; null = the same."
    )
    type: ColumnType | None = Field(None, description="Cast to this type; null = as it is.")

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        populate_by_name=True,
        serialize_by_alias=True,
    )

    @property
    def target(self) -> str:
        """The column's name in the table."""
        return self.as_ or self.name


class SourceSpec(Model):
    """Where records come from: one file, folder, glob or object-store URI."""

    name: Name = Field(description="The source's name; part of every id.")
    kind: Kind = Field(description="text or image.")
    path: str = Field(
        min_length=1,
        description="File, folder, glob or object-store URI; relative to the spec's folder.",
    )
    key: str | None = Field(
        None,
        min_length=1,
        description="Column holding the record's key (string or integer); tables need one. "
        "Null for files: the relative path is the key.",
    )
    text: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="Columns to embed, joined by a blank line (text sources in tables)."
    )
    image: str | None = Field(
        None,
        min_length=1,
        description="Column holding the image's bytes (image sources in parquet).",
    )
    columns: tuple[ColumnSpec, ...] = Field(
        (), description="Columns carried into the table: a name, or {name, as, type}."
    )
    mode: Literal["snapshot", "append"] = Field(
        "snapshot",
        description="snapshot: what is gone leaves the table. append: files add and update, and "
        "what is gone from them stays.",
    )
    on_repeat: Literal["reject", "latest"] = Field(
        "reject", description="A key seen twice: the first stays (reject), or the latest by `time`."
    )
    time: str | None = Field(
        None,
        min_length=1,
        description="Column with the record's time; `on_repeat: latest` and `dedupe.keep` read it.",
    )
    max_shrink: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Refuse when the source lost more than this share of its records.",
    )

    @field_validator("text", mode="before")
    @classmethod
    def _one_text_column(cls, value: object) -> object:
        if isinstance(value, str):
            return (value,)
        return tuple(value) if isinstance(value, list) else value

    @field_validator("columns", mode="before")
    @classmethod
    def _column_names(cls, value: object) -> object:
        if isinstance(value, list | tuple):
            return tuple({"name": v} if isinstance(v, str) else v for v in value)
        return value


class ChunkSpec(Model):
    """How documents are cut; `chunk: null` embeds whole records."""

    max_tokens: int = Field(
        256,
        ge=8,
        le=100_000,
        description="Content tokens in a chunk, at most the model's window.",
    )
    overlap: int = Field(0, ge=0, description="Tokens that neighbouring chunks share.")
    tokenizer: str | None = Field(
        None, description="Folder or hub id of another tokenizer; null = the embedder's own."
    )


class EmbedderSpec(Model):
    """The model that makes the vectors, and how it is computed."""

    kind: Literal["sentence-transformers", "open-clip", "timm"] = Field(
        description="Which library loads the model."
    )
    model: str = Field(min_length=1, description="Hub id, or folder (relative to the spec).")
    revision: str | None = Field(None, description="Hub revision; null = the default branch.")
    prompt: str | None = Field(
        None, description="Put before every document; null = the model's own document prompt."
    )
    query_prompt: str | None = Field(
        None, description="Put before every query; null = the model's own query prompt."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="Number format of the computation."
    )
    engine: Literal["auto", "torch", "openvino", "onnx"] = Field(
        "auto", description="What computes the model."
    )
    normalize: bool = Field(True, description="Scale every vector to unit length.")
    dimensions: int | None = Field(
        None, ge=1, description="Keep the first N dimensions (Matryoshka), renormalised."
    )


class ExpectationsSpec(Model):
    """What the records must look like before anything is embedded."""

    suite: str | None = Field(
        None, description="A Great Expectations suite as JSON; null = derived from the spec."
    )
    max_reject_share: float = Field(
        0.05, ge=0, le=1, description="Refuse when more than this share of a source is rejected."
    )
    min_rows: int = Field(1, ge=0, description="Refuse when fewer records than this are usable.")


class NearSpec(Model):
    """Near-duplicate records."""

    threshold: float = Field(
        0.7,
        gt=0,
        le=1,
        description="Texts: Jaccard similarity of runs of five characters. Images: correlation of "
        "small grey versions, at least 0.96.",
    )


class SemanticSpec(Model):
    """Items whose vectors nearly agree."""

    threshold: float = Field(0.95, gt=0, le=1, description="Cosine of two vectors.")


class DedupeSpec(Model):
    """Which duplicates are marked (never removed), and which copy is kept."""

    exact: bool = Field(True, description="Mark items with the same content.")
    near: NearSpec | None = Field(
        default_factory=NearSpec, description="Mark near-duplicate records; null = off."
    )
    semantic: SemanticSpec | None = Field(
        default_factory=SemanticSpec, description="Mark items with like vectors; null = off."
    )
    within: Literal["space", "source"] = Field(
        "space", description="Compare across the whole space or inside each source."
    )
    keep: tuple[Literal["earliest", "latest", "longest", "shortest"], ...] = Field(
        ("earliest", "longest"),
        description="Which copy is kept: by time (where the source has one) or size, then by id.",
    )


class ClusterSpec(Model):
    """Clusters and the two-dimensional map."""

    method: Literal["kmeans", "hdbscan"] = Field("kmeans", description="How rows are grouped.")
    k: Annotated[int, Field(ge=2)] | Literal["auto"] = Field(
        "auto", description="Number of clusters of kmeans; hdbscan finds its own."
    )
    map: Literal["pca", "umap"] | None = Field(
        "pca", description="How x and y are made (umap is an extra); null = no map."
    )


class AuditSpec(Model):
    """The gates, each `off`, `warn` or `refuse`."""

    quality: Severity = Field("refuse", description="Finite, width, norm, collapse.")
    canary: Severity = Field("off", description="Fixed inputs embed as they did before.")
    verify: Severity = Field("off", description="A sample is embedded again and compared.")
    drift: Severity = Field("off", description="New rows against the published release.")
    recall: Annotated[float, Field(gt=0, le=1)] | Literal["off"] = Field(
        "off", description="recall@10 that the index must reach against exact search."
    )


class PublishSpec(Model):
    """How a release is written."""

    tag: Tag = Field("prod", description="The tag that moves to each new release.")
    index: Literal["auto", "off"] = Field(
        "auto", description="auto: a vector index once exact search gets slow; off: never."
    )
    keep: int | None = Field(
        10, ge=1, description="Newest releases that `maintain` keeps; null: all of them."
    )
    vector_type: Literal["float16", "float32"] = Field(
        "float16", description="How vectors are stored."
    )
    thumbnails: bool = Field(True, description="Store a JPEG of at most 128 px for images.")


class ComputeSpec(Model):
    """Where the work is done."""

    engine: Literal["local", "work-pool", "ray"] = Field("local", description="What runs shards.")
    max_workers: int | None = Field(
        None,
        ge=1,
        description="Threads that read and decode, and GPUs that embed; null = one per core, "
        "and every GPU.",
    )


class SpaceSpec(Model):
    """One named vector table: where its records come from, and how it is made."""

    space: Name = Field(description="The table's name.")
    uri: str = Field(min_length=1, description="LanceDB URI: a folder or an object store.")
    workdir: str = Field(
        "./.vecmill", min_length=1, description="Work in progress; safe to delete."
    )
    storage_options: dict[str, str] | str | None = Field(
        None, description="Storage option → name of the environment variable that holds it."
    )
    sources: tuple[SourceSpec, ...] = Field(min_length=1, description="Where records come from.")
    chunk: ChunkSpec | None = Field(
        default_factory=ChunkSpec, description="How documents are cut; null = whole records."
    )
    embedder: EmbedderSpec = Field(description="The model that makes the vectors.")
    expectations: ExpectationsSpec = Field(
        default_factory=ExpectationsSpec, description="What the records must look like."
    )
    dedupe: DedupeSpec = Field(
        default_factory=DedupeSpec, description="Which duplicates are marked; none is removed."
    )
    cluster: ClusterSpec | None = Field(
        default_factory=ClusterSpec, description="Clusters and map; null = off."
    )
    audit: AuditSpec = Field(
        default_factory=AuditSpec, description="Which gates warn and which refuse."
    )
    publish: PublishSpec = Field(
        default_factory=PublishSpec, description="How a release is written."
    )
    compute: ComputeSpec = Field(default_factory=ComputeSpec, description="Where the work is done.")

    def source(self, name: str) -> SourceSpec:
        """The source of that name; `KeyError` when there is none."""
        for source in self.sources:
            if source.name == name:
                return source
        raise KeyError(name)

    def chunked(self, source: SourceSpec) -> bool:
        """Whether the source's records are cut into chunks (and so write `#n` ids)."""
        return source.kind == "text" and self.chunk is not None

    @property
    def storage_variables(self) -> tuple[tuple[str, str], ...]:
        """(Storage option, name of the environment variable that holds it), in order."""
        options = self.storage_options
        return tuple(sorted(options.items())) if isinstance(options, dict) else ()

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of its sources."""
        return frozenset(source.kind for source in self.sources)


class BuildOverrides(Model):
    """The few things that one run may decide for itself."""

    yes: bool = Field(
        False, description="Go on even when more than half of the table is embedded again."
    )
    dry_run: bool = Field(False, description="Plan and report, write nothing.")
    max_workers: int | None = Field(None, ge=1, description="Instead of compute.max_workers.")
    refit: bool = Field(
        False,
        description="Make clusters and map anew, as a release of its own: refused where the "
        "sources hold changes.",
    )
    retry: bool = Field(
        False,
        description="Try what was rejected again, where the cause may lie outside the record: "
        "files that could not be read or decoded, contents that could not be embedded.",
    )
    retry_reason: str | None = Field(
        None, description="With retry: only rejects of this reason. Null: of every such reason."
    )

    @model_validator(mode="after")
    def _retriable(self) -> BuildOverrides:
        if self.retry_reason is not None:
            if not self.retry:
                raise ValueError(f"retry_reason {self.retry_reason!r}: expected `retry: true` too")
            if self.retry_reason not in RETRIABLE:
                raise ValueError(
                    f"retry_reason {self.retry_reason!r}: it changes only with the record, the "
                    f"spec or the suite; expected one of {', '.join(sorted(RETRIABLE))}"
                )
        return self

    @property
    def retried(self) -> frozenset[str]:
        """The reasons whose rejects are tried again; none in an ordinary build."""
        if not self.retry:
            return frozenset()
        return RETRIABLE if self.retry_reason is None else frozenset((self.retry_reason,))
