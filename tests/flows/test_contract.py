"""What programs rely on that never heard of vecmill: the table, read with lancedb alone."""

from __future__ import annotations

import json
import subprocess
import sys

import pyarrow as pa

from made_words import sentence

SCRIPT = """
import json, sys
import lancedb

table = lancedb.connect(sys.argv[1]).open_table("notes")
table.checkout("prod")
row = table.search().where("id = 'docs:n7'").limit(1).to_list()[0]
hits = (
    table.search(row["vector"]).distance_type("cosine")
    .where("duplicate_of IS NULL").limit(3).to_arrow()
)
ours = [name for name in sys.modules if name.split(".")[0] in ("schemas", "tasks", "flows")]
print(json.dumps({
    "schema": [[field.name, str(field.type)] for field in table.schema],
    "ids": hits["id"].to_pylist(),
    "distances": hits["_distance"].to_pylist(),
    "rows": table.count_rows(),
    "imported": ours,
}))
"""


def test_a_plain_script_searches_prod(notes, tmp_path):
    notes.source(columns=[{"name": "lang", "as": "language"}, "stars"])
    texts = {f"n{i}": sentence(i, i + 40, i + 80) for i in range(30)}
    notes.write(
        texts,
        lang=dict.fromkeys(texts, "en"),
        stars={key: i for i, key in enumerate(texts)},
    )
    notes.build()
    script = tmp_path / "consumer.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-I", str(script), notes.spec.uri],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    found = json.loads(done.stdout)
    assert found["imported"] == []
    assert found["rows"] == 30
    assert found["ids"][0] == "docs:n7"
    assert found["distances"][0] < 1e-3
    assert found["schema"] == [
        ["id", "string"],
        ["source", "string"],
        ["key", "string"],
        ["kind", "string"],
        ["chunk", "int32"],
        ["start", "int32"],
        ["end", "int32"],
        ["text", "string"],
        ["uri", "string"],
        ["content_hash", "fixed_size_binary[16]"],
        ["row_hash", "fixed_size_binary[16]"],
        ["vector", f"fixed_size_list<item: {pa.float16()}>[32]"],
        ["duplicate_of", "string"],
        ["duplicate_kind", "string"],
        ["duplicate_score", "float"],
        ["cluster", "int32"],
        ["x", "float"],
        ["y", "float"],
        ["thumbnail", "binary"],
        ["language", "string"],
        ["stars", "int64"],
    ]
