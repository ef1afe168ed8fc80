"""Great Expectations is loaded late, says nothing, writes nothing and calls nobody."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

from tasks.validate.rows import validate_part
from tasks.validate.state import validate_state
from tasks.validate.suite import load_suite

REPOSITORY = Path(__file__).parents[2]

PROGRAM = """
import logging, pickle, socket, sys, tempfile, warnings

logging.basicConfig(level=logging.INFO)  # as a flow run may have it
def refuse(*_, **__):
    raise AssertionError("the network was asked for")

socket.socket.connect = refuse
socket.getaddrinfo = refuse
parts, spec, store = pickle.load(open(sys.argv[1], "rb"))
from tasks.validate.suite import load_suite
from tasks.validate.rows import validate_part
from tasks.validate.state import validate_state
suite = load_suite(spec, store)
rejects = [validate_part(part, (), suite, store) for part in parts]
validate_state(parts, rejects, suite, spec, store)
warnings.warn("ours is still heard")
open(sys.argv[2], "w").write(str("great_expectations" in sys.modules))
"""


def run(tmp_path: Path, *inputs: object) -> tuple[str, list[str], bool, Path]:
    """Validate in a process of its own: stdout, stderr, was the library loaded, its folder."""
    arguments, loaded, folder = tmp_path / "in.pickle", tmp_path / "loaded", tmp_path / "home"
    folder.mkdir()
    arguments.write_bytes(pickle.dumps(inputs))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(arguments), str(loaded)],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "HOME": str(folder), "TMPDIR": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if "ours is still heard" not in line]
    assert len(said) == len(done.stderr.splitlines()) - 1, done.stderr
    return done.stdout, said, loaded.read_text() == "True", folder


def test_the_library_is_silent_and_leaves_nothing(tmp_path, write_part, make_spec, store):
    parts = [write_part("docs", ["fine", ""], lang=["en", "de"], stars=[1, 2], price=[0.5, 1.0])]
    stdout, stderr, loaded, folder = run(tmp_path, parts, make_spec(), store)
    assert (stdout, stderr, loaded) == ("", [], True)
    assert list(folder.iterdir()) == []


def test_it_is_not_loaded_where_everything_was_judged_before(
    tmp_path, write_part, write_suite, make_spec, store
):
    own = write_suite(("expect_column_values_to_match_regex", {"column": "lang", "regex": "^en"}))
    parts = [write_part("docs", ["fine", ""], lang=["en", "de"])]
    spec = make_spec(suite=own)
    suite = load_suite(spec, store)
    rejects = [validate_part(part, (), suite, store) for part in parts]
    validate_state(parts, rejects, suite, spec, store)
    assert run(tmp_path, parts, spec, store)[:3] == ("", [], False)


def test_it_is_not_loaded_for_records_that_surely_meet_the_default_suite(
    tmp_path, write_part, make_spec, store
):
    parts = [
        write_part("docs", ["fine", "good"], lang=["en", "de"], stars=[1, 2], price=[1.0, 2.0])
    ]
    assert run(tmp_path, parts, make_spec(), store)[:3] == ("", [], False)
