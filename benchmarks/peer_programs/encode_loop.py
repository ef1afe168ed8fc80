"""The floor: read the files, one call of `SentenceTransformer.encode`, the vectors in one file.

It keeps nothing between runs, so each run embeds everything.
"""

from __future__ import annotations

import numpy as np
from arguments import places
from counting import count_into
from sentence_transformers import SentenceTransformer


def main() -> None:
    """Embed all documents, in the order of their names."""
    here = places()
    files = sorted(here.documents.glob("*.txt"))
    texts = [file.read_text(encoding="utf-8") for file in files]
    model = SentenceTransformer(str(here.model), local_files_only=True)
    count_into(here.embedded)
    vectors = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    here.state.mkdir(parents=True, exist_ok=True)
    np.savez(here.state / "vectors.npz", keys=[file.name for file in files], vectors=vectors)


if __name__ == "__main__":
    main()
