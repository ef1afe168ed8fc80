"""Writes a commented spec for what a first look found: `build` accepts it as it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tasks.query.first_look import FirstLook
from tasks.query.table_look import Look


@dataclass(frozen=True)
class Suggestion:
    """An embedder to begin with."""

    kind: str
    model: str
    why: str


TEXT = Suggestion(
    "sentence-transformers",
    "sentence-transformers/all-MiniLM-L6-v2",
    "small, quick on a CPU, English; 384 dimensions. For many languages for example\n"
    '# intfloat/multilingual-e5-small with prompt "passage: " and query_prompt "query: ".',
)
IMAGE = Suggestion(
    "open-clip",
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    "pictures and words in one space, so that text finds pictures. For pictures\n"
    "# alone: kind timm, for example model timm/mobilenetv2_100.ra_in1k.",
)
BOTH = Suggestion(IMAGE.kind, IMAGE.model, "one space for the texts and the pictures.")


def suggest(looks: Sequence[Look]) -> Suggestion:
    """The embedder for the kinds found."""
    kinds = {look.kind for look in looks}
    return TEXT if kinds == {"text"} else IMAGE if kinds == {"image"} else BOTH


def space_yaml(
    found: FirstLook,
    folder: Path,
    *,
    space: str | None = None,
    embedder: str | None = None,
    model: str | None = None,
) -> str:
    """The text of a spec that will lie in `folder`; names and models are guessed unless given."""
    looks = found.sources
    guess = suggest(looks)
    sources = "\n".join(_source(look, folder) for look in looks)
    left = "".join(f"# Not taken: {_comment(each)}\n" for each in found.left)
    text = any(look.kind == "text" for look in looks)
    why = "as given." if model else guess.why
    return (
        HEAD.format(space=_scalar(space or _space(folder, looks)), sources=sources)
        + left
        + (CHUNK if text else NO_CHUNK)
        + EMBEDDER.format(
            kind=embedder or guess.kind,
            model=_scalar(_model(model, folder) or guess.model),
            why=why,
        )
        + TAIL
    )


def _space(folder: Path, looks: Sequence[Look]) -> str:
    if len(looks) == 1:
        return looks[0].name
    name = re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_")
    return name if name[:1].isalpha() else looks[0].name


def _model(model: str | None, folder: Path) -> str | None:
    """A model's folder as seen from the spec; a hub id stays what it is."""
    return None if model is None else _relative(model, folder) if Path(model).is_dir() else model


def _relative(path: str, folder: Path) -> str:
    absolute = Path(path).absolute()
    try:
        return f"./{absolute.relative_to(folder.absolute()).as_posix()}"
    except ValueError:
        return absolute.as_posix()


def _source(look: Look, folder: Path) -> str:
    lines = [
        f"  - name: {_scalar(look.name)}",
        f"    kind: {look.kind}",
        f"    path: {_scalar(_relative(look.path, folder))}   # {look.files:,} × {look.ending}",
    ]
    lines += [f"    # {_comment(note)}" for note in look.notes]
    if look.key is not None:
        lines.append(f"    key: {_scalar(look.key)}   # unique: it becomes part of every id")
    else:
        lines.append("    # key: the file's path below the folder")
    if look.text:
        lines.append(f"    text: {_flow(look.text)}   # embedded, joined by a blank line")
    if look.image is not None:
        lines.append(f"    image: {_scalar(look.image)}   # the picture's bytes")
    if look.columns:
        lines.append("    columns:   # carried into the table, to filter by; {name, as, type} too")
        lines += [f"      - {_column(name, target)}" for name, target in look.columns]
    if look.left:
        lines.append(f"    # left out: {_comment(', '.join(look.left))}")
    return "\n".join(lines)


def _column(name: str, target: str) -> str:
    return _scalar(name) if name == target else _flow({"name": name, "as": target})


def _comment(text: str) -> str:
    """Fit for one comment line, whatever a column is called."""
    return " ".join(text.split())[:200]


def _scalar(value: str) -> str:
    return _flow(value).removesuffix("\n...").strip()


def _flow(value: object) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(
        plain, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False
    ).strip()


HEAD = """\
# A vecmill space: one vector table, built by `vecmill build FILE`.
# Relative paths start at this file's folder. Whatever is left out has the default shown.

space: {space}   # the table's name: a-z, 0-9 and single _
uri: ./lancedb            # where the table lies: a LanceDB folder
# workdir: ./.vecmill     # work in progress; deleting it costs time alone
# storage_options: null   # for sources on object stores: {{option: ENVIRONMENT_VARIABLE}}

sources:                  # where records come from: files, folders, globs, object-store URIs
{sources}
    # max_shrink: 0.2     # refuse when the source lost more than this share of its records
    # mode: snapshot      # what is gone leaves the table; append: files add and update
    # on_repeat: reject   # a key seen twice: the first stays; latest: the greatest `time` does
"""

CHUNK = """
# Documents are cut in the embedder's own tokens, at section, paragraph and sentence borders.
# `chunk: null` embeds whole records.
chunk:
  max_tokens: 256         # at most the model's window
  overlap: 0              # tokens that neighbours share
"""

NO_CHUNK = """
# chunk: {max_tokens: 256, overlap: 0}   # for text sources
"""

EMBEDDER = """
# The model that makes the vectors: {why}
# A hub id is downloaded once; a folder works offline. Another embedder is another space.
embedder:
  kind: {kind}   # sentence-transformers | open-clip | timm
  model: {model}
  # revision: null        # pin the hub's revision
  # prompt: null          # before every document; query_prompt before every query
  # engine: auto          # auto (the fastest that agrees with fp32 torch) | torch | openvino | onnx
  # precision: auto       # auto | fp32 | bf16 | fp16
  # normalize: true       # vectors of unit length
  # dimensions: null      # keep the first N (Matryoshka models)
"""

TAIL = """
# What records must look like before anything is embedded.
expectations:
  max_reject_share: 0.05  # refuse when more of a source than this is rejected
  min_rows: 1             # refuse when fewer records than this are usable
  # suite: null           # your own Great Expectations suite as JSON

# Duplicates are marked, never removed: `duplicate_of IS NULL` is the table without them.
# `near: null` and `semantic: null` switch those off; another mind costs no embedding.
dedupe:
  exact: true             # items with the same content
  near: {threshold: 0.7}  # records that share so much of their text; pictures that look the same
  semantic: {threshold: 0.95}   # items whose vectors are so close (cosine)
  # within: space         # compare across the space, or inside each source
  # keep: [earliest, longest]   # which copy stays: by these in turn, then by id; latest, shortest

# Groups of rows that are alike, and a place for each on a map; `cluster: null` for neither.
cluster:
  method: kmeans          # kmeans | hdbscan
  k: auto                 # how many, or auto
  map: pca                # pca | umap (pip install "vecmill[umap]") | null

# The gates before a release: off | warn | refuse.
audit: {quality: refuse}

publish:
  tag: prod               # the tag that moves to each new release
  vector_type: float16    # float16 | float32
  # thumbnails: true      # a small JPEG of each image in the table
  # keep: 10              # newest releases that `vecmill maintain` keeps; null keeps all
  # index: auto           # a vector index once exact search gets slow; off: never

# compute: {max_workers: null}   # threads that read and decode; null = one per core

# Not built yet in this version, and refused when written: storage options from a Prefect block,
# the gates canary, verify, drift and recall, other compute engines than local.
"""
