"""vecmill as its users run it: a spec and the command `build`, all options at their defaults."""

from __future__ import annotations

import json
import sys

from arguments import Places, places
from counting import count_into

import tasks.embed.embed_shard as embed_shard
from flows.cli import run
from schemas.refs import EmbedderRef
from tasks.embedders.protocol import Embedder


def count(here: Places) -> None:
    """Count from when the first shard loads the model; a build without one stays light."""
    load, counting = embed_shard.load, False

    def counted(ref: EmbedderRef) -> Embedder:
        nonlocal counting
        embedder = load(ref)
        if not counting:
            count_into(here.embedded)
            counting = True
        return embedder

    embed_shard.load = counted


def main() -> int:
    """Build the space; its exit code."""
    here = places()
    here.state.mkdir(parents=True, exist_ok=True)
    spec = {
        "space": "documents",
        "uri": "./lancedb",
        "sources": [{"name": "files", "kind": "text", "path": str(here.documents / "*.txt")}],
        "embedder": {"kind": "sentence-transformers", "model": str(here.model)},
    }
    path = here.state / "documents.yaml"
    path.write_text(json.dumps(spec), encoding="utf-8")  # JSON is YAML
    count(here)
    return run(["build", str(path), "--quiet"])


if __name__ == "__main__":
    sys.exit(main())
