"""Docstrings: taken from source with `ast`, each key once, the same every time."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from flows.demo.change import Change
from flows.demo.docs_folder import FAULTS_FILE, change_one_percent, read_docs, write_docs
from flows.demo.python_docs import collect_docs, read_module

SOURCE = '''
"""A module that greets people, written for a test of the extraction."""

if True:
    def greet(name: str, *, loud: bool = False) -> str:
        """Greet somebody by name, loudly where that is wanted by the caller."""
else:
    def greet(name):
        """Greet somebody by name; the version for interpreters without shouting."""

class Greeter:
    """Greets many people, one after the other, and remembers all of them."""

    def again(self):
        """Greet everybody again, in the order in which they were met before."""

    def _hidden(self):
        """A private method, which the extraction leaves out of its records."""

def short():
    """Too short."""
'''


def test_public_docstrings_with_their_names_and_signatures(tmp_path: Path) -> None:
    path = tmp_path / "greeting.py"
    path.write_text(SOURCE)
    found = [(d.key, d.kind, d.signature) for d in read_module(path, "pack", "pack.greeting")]
    assert found == [
        ("pack.greeting", "module", None),
        ("pack.greeting:greet", "function", "(name: str, *, loud: bool=False)"),
        ("pack.greeting:greet~2", "function", "(name)"),
        ("pack.greeting:Greeter", "class", None),
        ("pack.greeting:Greeter.again", "method", "(self)"),
    ]


def test_a_file_that_does_not_parse_has_no_docstrings(tmp_path: Path) -> None:
    path = tmp_path / "template.py"
    path.write_text("class {{ name }}: ...")
    assert list(read_module(path, "pack", "pack.template")) == []


def test_keys_are_unique_and_nothing_is_imported() -> None:
    loaded = set(sys.modules)
    docs = collect_docs(300, ["sqlalchemy", "rich", "absent_package"])
    assert len({doc.key for doc in docs}) == len(docs) == 300
    assert {doc.package for doc in docs} == {"sqlalchemy", "rich"}
    assert collect_docs(300, ["sqlalchemy", "rich"]) == docs
    assert not {name for name in set(sys.modules) - loaded if name.startswith("sqlalchemy")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_docs(tmp_path / "python_docs", records=200, packages=["sqlalchemy", "rich"])
    return tmp_path / "python_docs"


def keys(folder: Path) -> dict[str, str]:
    files = [p for p in (folder / "docs").glob("*.jsonl") if p.name != FAULTS_FILE]
    docs = [json.loads(line) for path in files for line in path.read_bytes().splitlines()]
    return {doc["key"]: doc["text"] for doc in docs}


def test_the_folder_holds_the_records_and_says_what_is_planted(folder: Path) -> None:
    found = read_docs(folder)
    assert (found.records, found.held_back, found.faults) == (200, 20, 9)
    assert len(keys(folder)) == 200
    faults = (folder / "docs" / FAULTS_FILE).read_bytes().splitlines()
    assert all(b"plant" in line for line in faults)
    with pytest.raises(UnicodeDecodeError):
        b"\n".join(faults).decode()


def test_a_change_edits_adds_and_removes_one_percent(folder: Path) -> None:
    before = keys(folder)
    assert change_one_percent(folder) == Change(edited=1, added=1, removed=1)
    after = keys(folder)
    assert len(set(after) - set(before)) == len(set(before) - set(after)) == 1
    assert sum(after[key] != before[key] for key in set(after) & set(before)) == 1
    change_one_percent(folder, turn=2)
    assert len(set(keys(folder)) - set(after)) == 1
