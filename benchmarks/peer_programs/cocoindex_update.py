"""CocoIndex 1.x: a folder walked, one memoised component a file, rows declared on a table.

Its state (what was computed, what rows there should be) lies in an LMDB folder of its own; no
server is needed. The embedder is the one that it ships for sentence-transformers, as it comes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import cocoindex as coco
from arguments import places
from cocoindex.connectors import lancedb, localfs
from cocoindex.ops.sentence_transformers import SentenceTransformerEmbedder
from counting import count_into
from numpy.typing import NDArray

HERE = places()
DATABASE = coco.ContextKey[lancedb.LanceAsyncConnection]("database")


class CountedEmbedder(SentenceTransformerEmbedder):
    """The library's embedder; counting begins when it loads its model."""

    def _get_model(self) -> Any:
        if self._model is None:
            super()._get_model()
            count_into(HERE.embedded)
        return self._model


EMBEDDER = CountedEmbedder(str(HERE.model))


@dataclass
class DocumentRow:
    """The table's schema."""

    key: str
    text: str
    vector: Annotated[NDArray, EMBEDDER]


@coco.lifespan
async def lifespan(builder: coco.EnvironmentBuilder) -> AsyncIterator[None]:
    """Where the state and the table lie."""
    builder.settings.db_path = HERE.state / "cocoindex.db"
    builder.provide(DATABASE, await lancedb.connect_async(str(HERE.state / "lancedb")))
    yield


@coco.fn(memo=True)
async def index_file(file: localfs.File, table: lancedb.TableTarget[DocumentRow]) -> None:
    """One document, one row."""
    text = await file.read_text()
    vector = await EMBEDDER.embed(text)
    table.declare_row(row=DocumentRow(file.file_path.path.name, text, vector))


@coco.fn
async def index_folder() -> None:
    """All documents of the folder; rows of files that are gone leave the table."""
    schema = await lancedb.TableSchema.from_class(DocumentRow, primary_key=["key"])
    table = await lancedb.mount_table_target(DATABASE, "documents", schema)
    await coco.mount_each(index_file, localfs.walk_dir(HERE.documents).items(), table)


def main() -> None:
    """One update, everything that it started ended."""
    HERE.state.mkdir(parents=True, exist_ok=True)
    app = coco.App("documents", index_folder)
    with coco.runtime():
        app.update_blocking()


if __name__ == "__main__":
    main()
