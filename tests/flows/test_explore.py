"""`vecmill explore`: what the program gets, where it answers, and that nothing is left."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import lance
import pyarrow.parquet as pq
import pytest

from schemas.errors import UsageError
from tasks.query.export_map import export_map
from tasks.table.clusters import read_clusters

PROGRAM = f"""#!{sys.executable}
import json, os, pathlib, sys, time
rows = pathlib.Path(sys.argv[1])
told = {{"argv": sys.argv[1:], "mode": rows.parent.stat().st_mode & 0o777,
        "cache": os.environ["XDG_CACHE_HOME"], "copy": str(rows.parent)}}
folder = pathlib.Path(__file__).parent
(folder / "rows.parquet").write_bytes(rows.read_bytes())
labels = rows.with_name("labels.parquet")
if labels.exists():
    (folder / "labels.parquet").write_bytes(labels.read_bytes())
(folder / "part").write_text(json.dumps(told))
(folder / "part").rename(folder / "told.json")
time.sleep(float(os.environ.get("STAYS", "0")))
sys.exit(int(os.environ.get("ENDS", "0")))
"""
"""Stands in for Embedding Atlas: it writes down what it was given."""


STARTED = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # else ignored in the background
from flows.cli import main
main()
"""


@pytest.fixture
def atlas(tmp_path, monkeypatch) -> Path:
    """A folder on the PATH with the stand-in."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "embedding-atlas"
    program.write_text(PROGRAM)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def mapped(notes, texts):
    """The notes with clusters and a map; one is a copy, one column is carried."""
    notes.changes["cluster"] = {"k": 3, "map": "pca"}
    notes.source(columns=["lang"])
    texts = {**texts, "n29": texts["n0"]}
    notes.write(texts, lang=dict.fromkeys(texts, "en"))
    notes.build()
    return notes


def told(folder: Path) -> dict:
    return json.loads((folder / "told.json").read_text())


def test_the_program_gets_the_map_without_vectors_on_this_machine_alone(mapped, atlas):
    answer = mapped.command("explore", "--port", "6001")
    assert answer.code == 0, answer.err
    said = told(atlas)
    rows, *options = said["argv"]
    given = dict(zip(options[::2], options[1::2], strict=False))
    assert options[:5] == ["--x", "x", "--y", "y", "--disable-projection"]
    assert {"--text", "text", "--host", "127.0.0.1", "--port", "6001"} <= set(options)
    assert given["--x"] == "x"
    assert said["mode"] == 0o700
    assert said["cache"].startswith(said["copy"])
    assert not Path(rows).parent.exists()
    table = pq.read_table(atlas / "rows.parquet")
    assert table.num_rows == 30
    assert {"vector", "content_hash", "row_hash", "thumbnail"}.isdisjoint(table.column_names)
    assert {"id", "text", "x", "y", "cluster", "cluster_name", "lang"} <= set(table.column_names)
    labels = pq.read_table(atlas / "labels.parquet")
    assert set(labels.column("text").to_pylist()) == set(table.column("cluster_name").to_pylist())
    assert "30 rows of kind text" in answer.err


def test_kept_leaves_copies_out_and_an_old_release_can_be_looked_at(mapped, atlas, texts):
    mapped.command("explore", "--kept")
    assert pq.read_table(atlas / "rows.parquet").num_rows == 29
    mapped.write({**texts, "new": "w1 w2"}, lang=dict.fromkeys([*texts, "new"], "en"))
    mapped.build()
    mapped.command("explore", "--release", "v0001")
    assert pq.read_table(atlas / "rows.parquet").num_rows == 30
    mapped.command("explore")
    assert pq.read_table(atlas / "rows.parquet").num_rows == 31


def test_without_the_program_the_install_line_is_printed(mapped, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    answer = mapped.command("explore")
    assert answer.code == 2
    assert "uv tool install embedding-atlas" in answer.err


def test_without_a_map_it_says_what_to_write(notes, atlas):
    notes.build()
    answer = notes.command("explore")
    assert answer.code == 2
    assert "cluster: {map: pca}" in answer.err
    assert not (atlas / "told.json").exists()


def test_a_program_that_fails_is_an_error(mapped, atlas, monkeypatch):
    monkeypatch.setenv("ENDS", "3")
    answer = mapped.command("explore")
    assert answer.code == 1
    assert "embedding-atlas ended with exit code 3" in answer.err
    assert not Path(told(atlas)["copy"]).exists()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_whoever_ends_it_leaves_no_copy(mapped, atlas, sign):
    words = [sys.executable, "-c", STARTED, "explore", str(mapped.spec_file())]
    environment = {**os.environ, "STAYS": "45"}
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE) as command:
        end = time.monotonic() + 90
        while not (atlas / "told.json").exists() and time.monotonic() < end:
            time.sleep(0.05)
        copy = Path(told(atlas)["copy"])
        assert copy.exists()
        command.send_signal(sign)
        command.communicate(timeout=60)
    assert command.returncode == 0
    assert not copy.exists()


def test_names_of_a_users_own_column_are_not_taken(mapped, tmp_path):
    dataset = lance.dataset(mapped.ref.path, version="prod")
    rows = dataset.to_table()
    rows = rows.append_column("cluster_name", rows.column("id"))
    own = lance.write_dataset(rows, str(tmp_path / "own.lance"))
    found = read_clusters(mapped.ref, mapped.build().manifest.build_id)
    made = export_map(own, found, tmp_path)
    columns = pq.read_table(made.rows).column_names
    assert {"cluster_name", "vecmill_cluster_name"} <= set(columns)
    with pytest.raises(UsageError, match="no row of kind 'image' has a place"):
        export_map(own, found, tmp_path, "image")
