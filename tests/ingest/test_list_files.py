"""Which files a path means, under which keys, here and on object stores."""

from __future__ import annotations

import os
import sys
import unicodedata

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import MissingExtraError, SourceError, UsageError
from schemas.spec import SourceSpec
from tasks.ingest.listing import list_files
from tasks.ingest.path_pattern import path_pattern
from tasks.ingest.survey import survey


def keys(path, options=None):
    """The keys of a source's files, in order."""
    source = SourceSpec(name="docs", kind="text", path=str(path))
    return [file.key for file in list_files(source, options or {})]


def problems(path):
    """Key → problem, of the files that have one."""
    source = SourceSpec(name="docs", kind="text", path=str(path))
    return {f.key: f.problem for f in list_files(source, {}) if f.problem is not None}


@pytest.fixture
def tree(tmp_path):
    """A folder with files at three depths, and hidden ones."""
    root = tmp_path / "tree"
    for name in ("b.md", "a.md", "c.txt", ".hidden.md", "x/d.md", "x/y/e.md", ".git/f.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        pytest.param("", ["a.md", "b.md", "c.txt", "x/d.md", "x/y/e.md"], id="folder"),
        pytest.param("a.md", ["a.md"], id="file"),
        pytest.param("x/d.md", ["d.md"], id="file below: its name is the key"),
        pytest.param("*.md", ["a.md", "b.md"], id="one level"),
        pytest.param("**/*.md", ["a.md", "b.md", "x/d.md", "x/y/e.md"], id="any level"),
        pytest.param("x/**", ["d.md", "y/e.md"], id="everything below: keys start at the glob"),
        pytest.param("*/*.md", ["x/d.md"], id="exactly the second level"),
        pytest.param("[!b].*", ["a.md", "c.txt"], id="set"),
        pytest.param("?.{md,txt}", ["a.md", "b.md", "c.txt"], id="alternatives"),
        pytest.param(".*.md", [".hidden.md"], id="hidden where the pattern says so"),
        pytest.param("x/../*.md", ["a.md", "b.md"], id="a path with .."),
    ],
)
def test_what_a_path_means(tree, pattern, expected):
    assert keys(tree / pattern if pattern else tree) == expected
    assert keys(f"file://{tree}/{pattern}") == expected


def test_object_stores_list_the_same(tree):
    store = fsspec.filesystem("memory")
    store.put(str(tree), "/bucket/tree", recursive=True)
    everything = ["a.md", "b.md", "c.txt", "x/d.md", "x/y/e.md"]
    assert keys("memory://bucket/tree") == everything
    assert keys("memory://bucket/tree/") == everything
    assert keys("memory://bucket/tree/**/*.md") == ["a.md", "b.md", "x/d.md", "x/y/e.md"]
    assert keys("memory://bucket/tree/*.md") == ["a.md", "b.md"]
    assert keys("memory://bucket/tree/x/d.md") == ["d.md"]
    with pytest.raises(SourceError, match="matched no file"):
        keys("memory://bucket/tree/*.rst")
    with pytest.raises(SourceError, match="cannot list 'memory://bucket/nothing'"):
        keys("memory://bucket/nothing")
    store.rm("/bucket", recursive=True)


def test_sources_on_an_object_store_are_read(tmp_path, ingest):
    with fsspec.open("memory://corpus/a.csv", "wb") as file:
        file.write(b"id,body\n1,a\n2\n")
    pq.write_table(pa.table({"id": [3], "body": ["c"]}), tmp_path / "b.parquet")
    fsspec.filesystem("memory").put(str(tmp_path / "b.parquet"), "/corpus/b.parquet")
    with fsspec.open("memory://corpus/c.jsonl.gz", "wb", compression="gzip") as file:
        file.write(b'{"id": 4, "body": "d"}\n')
    found = ingest("memory://corpus/*", key="id", text="body")
    assert found.records("key", "text", "uri") == [
        ("1", "a", "memory://corpus/a.csv"),
        ("3", "c", "memory://corpus/b.parquet"),
        ("4", "d", "memory://corpus/c.jsonl.gz"),
    ]
    assert found.rejects() == [(None, "malformed-line", 3)]
    fsspec.filesystem("memory").rm("/corpus", recursive=True)


def test_keys_are_nfc_and_sorted(tmp_path):
    decomposed = unicodedata.normalize("NFD", "é.txt")
    for name in ("z.txt", decomposed, "B.txt", "a.txt"):
        (tmp_path / name).touch()
    assert keys(tmp_path) == ["B.txt", "a.txt", "z.txt", "é.txt"]


def test_a_file_whose_name_has_wildcards(tmp_path):
    (tmp_path / "a[1].txt").write_text("x")
    assert keys(tmp_path / "a[1].txt") == ["a[1].txt"]


def test_links_stay_below_the_root(tmp_path, ingest):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("inside")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "s.txt").write_text("outside")
    (root / "inside.txt").symlink_to(root / "a.txt")
    (root / "leak.txt").symlink_to(tmp_path / "secret" / "s.txt")
    (root / "leaks").symlink_to(tmp_path / "secret")
    (root / "sub" / "loop").symlink_to(root)
    (root / "gone.txt").symlink_to(root / "nothing.txt")
    found = ingest(root)
    assert found.records() == [("a.txt", "inside"), ("inside.txt", "inside")]
    assert found.rejects("key", "reason") == [
        ("gone.txt", "unreadable-file"),
        ("leak.txt", "outside-root"),
        ("leaks", "outside-root"),
        ("sub/loop", "unreadable-file"),
    ]


def test_what_is_neither_file_nor_folder_is_not_opened(tmp_path, ingest):
    os.mkfifo(tmp_path / "pipe.md")  # to open it would wait for a writer
    (tmp_path / "a.md").write_text("a")
    found = ingest(tmp_path)
    assert found.records() == [("a.md", "a")]
    assert found.rejects("key", "reason") == [("pipe.md", "unreadable-file")]


def test_a_right_that_is_given_later_makes_another_listing(tmp_path, monkeypatch):
    (tmp_path / "a.md").write_text("a")
    (tmp_path / "b.md").write_text("b")
    with monkeypatch.context() as patched:  # root may read everything
        patched.setattr(os, "access", lambda path, mode: path.name != "b.md")
        assert problems(tmp_path) == {"b.md": "unreadable-file"}
    assert problems(tmp_path) == {}


def test_a_root_that_is_a_link_itself(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert keys(tmp_path / "link") == ["a.txt"]
    assert problems(tmp_path / "link") == {}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows such names")
def test_a_name_that_is_no_utf8(tmp_path, ingest):
    (tmp_path / "d").mkdir()
    with open(os.fsencode(tmp_path / "d") + b"/caf\xe9.txt", "w") as file:  # noqa: PTH123
        file.write("x")
    found = ingest(tmp_path / "d")
    assert found.rejects() == [("caf\\xe9.txt", "not-utf8", None)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path, ingest):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_text("x")
    (tmp_path / "d" / "a.txt").chmod(0)
    assert ingest(tmp_path / "d").rejects() == [("a.txt", "unreadable-file", None)]


@pytest.mark.parametrize("path", ["nothing", "nothing/*.md", "*.parqet"])
def test_a_path_that_means_nothing(tmp_path, path):
    with pytest.raises(SourceError, match=r"source 'docs'.*expected") as error:
        keys(tmp_path / path)
    assert error.value.source == "docs"
    assert str(tmp_path) in str(error.value)


def test_a_driver_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vecmill\[gs\]'"):
        keys("gs://bucket/data")


def test_a_scheme_that_nobody_knows():
    with pytest.raises(UsageError, match="fsspec knows no nosuch://"):
        keys("nosuch://bucket/data")


def test_storage_options_name_environment_variables(tmp_path, spec_of, monkeypatch):
    (tmp_path / "a.txt").write_text("x")
    spec = spec_of(tmp_path / "a.txt", storage_options={"region": "MY_REGION"})
    with pytest.raises(UsageError, match=r"storage_options\.region: MY_REGION: no such env"):
        survey(spec)
    monkeypatch.setenv("MY_REGION", "eu-north-1")
    (part,) = survey(spec).listings[0].parts
    assert part.storage_options == (("region", "MY_REGION"),)


@pytest.mark.parametrize(
    ("path", "root", "pattern"),
    [
        ("docs/**/*.md", "docs", "**/*.md"),
        ("/a/b/c-*.txt", "/a/b", "c-*.txt"),
        ("/*.txt", "/", "*.txt"),
        ("s3://bucket/x/{a,b}/*.tar", "s3://bucket/x", "{a,b}/*.tar"),
        ("docs/plain.md", "docs/plain.md", ""),
    ],
)
def test_the_root_is_the_longest_prefix_without_wildcards(path, root, pattern):
    assert (path_pattern(path).root, path_pattern(path).pattern) == (root, pattern)
