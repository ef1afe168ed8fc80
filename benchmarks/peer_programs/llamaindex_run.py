"""LlamaIndex `IngestionPipeline`: splitter, embedding, docstore with upserts and deletions.

As its documentation has it where documents come back in later runs: ids of their own, a docstore
and a cache that are loaded before the run and persisted after it. The splitter is needed for the
rows to name their document; these documents fit into one chunk.
"""

from __future__ import annotations

from typing import Any

from arguments import Places, places
from counting import count_into
from llama_index.core import Document
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.vector_stores.lancedb import LanceDBVectorStore


class MendedStore(LanceDBVectorStore):
    """The library's LanceDB store, whose deletions fail with lancedb 0.40.

    It puts the id in double quotes, which make it the name of a column: "No field named ...".
    Every run with an edited or deleted document would end there.
    """

    def delete(self, ref_doc_id: str, **_options: Any) -> None:
        """Delete the rows of one document."""
        quoted = ref_doc_id.replace("'", "''")
        self.table.delete(f"{self.doc_id_key} = '{quoted}'")


def pipeline(here: Places) -> IngestionPipeline:
    """The pipeline with what earlier runs have persisted."""
    made = IngestionPipeline(
        transformations=[SentenceSplitter(), HuggingFaceEmbedding(model_name=str(here.model))],
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        vector_store=MendedStore(uri=str(here.state / "lancedb"), table_name="documents"),
    )
    if (here.state / "pipeline").is_dir():
        made.load(str(here.state / "pipeline"))
    return made


def main() -> None:
    """Run the pipeline over all documents and persist it."""
    here = places()
    here.state.mkdir(parents=True, exist_ok=True)
    documents = [
        Document(id_=file.name, text=file.read_text(encoding="utf-8"))
        for file in sorted(here.documents.glob("*.txt"))
    ]
    made = pipeline(here)
    count_into(here.embedded)
    made.run(documents=documents)
    made.persist(str(here.state / "pipeline"))


if __name__ == "__main__":
    main()
