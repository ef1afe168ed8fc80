"""The comparison with peers: the change, the kill, the look at a table, what is printed."""

from __future__ import annotations

import sys
from pathlib import Path

import lancedb
import numpy as np
import pytest
from peer_corpus import EDIT, changed, make_documents, one_percent, write
from peer_processes import last_words, run
from peer_state import State, read_state
from peer_tables import Step, cost_table, state_table
from peers import complaint, exit_code

ITEMS = [f"Item {number}\n\nIt is about {number}." for number in range(520)]


def test_documents_are_distinct_and_the_same_every_time() -> None:
    documents = make_documents(ITEMS, 505)
    assert documents == make_documents(ITEMS, 505)
    assert len(set(documents.values())) == 505
    assert list(documents)[:2] == ["00000.txt", "00001.txt"]


def test_more_documents_than_items_are_refused() -> None:
    with pytest.raises(ValueError, match=r"521 documents asked for, 520 can be made"):
        make_documents(ITEMS, 521)


def test_one_percent_is_one_percent_of_each_kind() -> None:
    made = make_documents(ITEMS, 505)
    before = dict(list(made.items())[:500])
    change = one_percent(before, dict(list(made.items())[500:]))
    after = changed(before, change)
    assert (len(change.edited), len(change.added), len(change.deleted)) == (5, 5, 5)
    assert not set(change.edited) & set(change.deleted)
    assert change.to_embed == 10
    assert len(after) == 500
    assert {name for name, text in after.items() if text.endswith(EDIT)} == set(change.edited)
    assert set(before) - set(after) == set(change.deleted)
    assert sum(after.get(name) == text for name, text in before.items()) == 490


def test_writing_touches_only_what_differs(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": "one", "b.txt": "two", "c.txt": "three"})
    untouched = (tmp_path / "a.txt").stat().st_mtime_ns
    write(tmp_path, {"a.txt": "one", "b.txt": "edited", "d.txt": "four"})
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "a.txt": "one",
        "b.txt": "edited",
        "d.txt": "four",
    }
    assert (tmp_path / "a.txt").stat().st_mtime_ns == untouched


def test_a_table_is_counted_against_the_documents(tmp_path: Path) -> None:
    rows = [
        {"key": "kept.txt", "text": "as it is ", "vector": [1.0, 0.0]},
        {"key": "twice.txt", "text": "again", "vector": [0.0, 2.0]},
        {"key": "twice.txt", "text": "again", "vector": [0.0, 1.0]},
        {"key": "edited.txt", "text": "as it was", "vector": [1.0, 0.0]},
        {"key": "gone.txt", "text": "deleted", "vector": [1.0, 0.0]},
    ]
    lancedb.connect(tmp_path).create_table("documents", rows)
    texts = {"kept.txt": "as it is", "twice.txt": "again", "edited.txt": "new", "lost.txt": "lost"}
    right = {name: np.array([0.0, 1.0], np.float32) for name in texts}
    state = read_state(tmp_path, "key", None, texts, right)
    assert state == State(rows=5, missing=1, repeated=1, deleted_found=1, old_text=1, worst=1.0)
    assert not state.whole


def test_a_table_that_was_never_made_has_no_rows(tmp_path: Path) -> None:
    state = read_state(tmp_path, "key", "prod", {"a.txt": "a"}, None)
    assert state == State(0, missing=1, repeated=0, deleted_found=0, old_text=0, worst=None)


def test_a_process_is_killed_when_the_count_is_reached(tmp_path: Path) -> None:
    count = tmp_path / "count"
    program = (
        "import sys, time\n"
        "with open(sys.argv[1], 'w') as file:\n"
        "    for line in range(1000):\n"
        "        print(line, file=file, flush=True)\n"
        "        time.sleep(0.01)\n"
    )
    command = [sys.executable, "-c", program, str(count)]
    ended = run(command, {}, tmp_path / "log", count, kill_at=10)
    assert ended.code == -9
    assert 10 <= count.read_text().count("\n") < 1000
    assert ended.seconds < 10
    assert complaint("killed", ended.code, tmp_path / "log") is None


def test_how_a_process_ended_badly_is_told_in_its_own_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = "import sys; print('reading'); sys.exit('no such table')"
    command = [sys.executable, "-u", "-c", program]
    ended = run(command, {}, log, tmp_path / "count")
    assert complaint("1 %", ended.code, log) == "exit code 1: no such table"
    assert complaint("killed", 0, log) == "it had ended before it could be killed"
    log.write_text("\n")
    assert last_words(log) == "it printed nothing"


WHOLE = State(rows=4, missing=0, repeated=0, deleted_found=0, old_text=0, worst=2e-7)


def step(system: str, name: str, cpu: float, embedded: int, **more: object) -> Step:
    return Step(1, system, name, 0, cpu, cpu / 2, 512.0, embedded, **more)


def test_the_tables_show_medians_ratios_and_the_worst_state() -> None:
    torn = State(rows=6, missing=0, repeated=2, deleted_found=0, old_text=0, worst=1e-6)
    steps = [
        step("encode loop", "first build", 8.0, 4),
        step("vecmill", "first build", 10.0, 4, state=WHOLE),
        step("Peer", "first build", 20.0, 4, state=WHOLE),
        step("Peer", "first build", 30.0, 4, state=WHOLE),
        step("Peer", "resumed", 25.0, 4, twice=2, state=torn),
        step("Peer", "no-op", 1.0, 0, failed="exit code 1: no such table"),
    ]
    systems = ["encode loop", "vecmill", "Peer"]
    assert cost_table(steps, systems).splitlines() == [
        "| step | system | CPU s | clock s | ÷ vecmill | ÷ loop | embedded | peak MB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| first build | encode loop | 8.0 | 4.0 | 0.80 | 1.00 | 4 | 512 |",
        "| first build | vecmill | 10.0 | 5.0 | 1.00 | 1.25 | 4 | 512 |",
        "| first build | Peer | 25.0 | 12.5 | 2.50 | 3.12 | 4 | 512 |",
        "| resumed | Peer | 25.0 | 12.5 |  | 3.12 | 4 | 512 |",
    ]
    assert state_table(steps, systems).splitlines()[2:] == [
        "| first build | vecmill | 4 | 0 | 0 | 0 | 0 |  | 2e-07 |",
        "| first build | Peer | 4 | 0 | 0 | 0 | 0 |  | 2e-07 |",
        "| resumed | Peer | 6 | 0 | 2 | 0 | 0 | 2 | 1e-06 |",
    ]


@pytest.mark.parametrize(
    ("own", "code"),
    [
        ({"state": WHOLE}, 0),
        ({"state": State(3, 1, 0, 0, 0, None)}, 1),
        ({"failed": "exit code 1: disk full"}, 1),
    ],
    ids=["whole", "a document missing", "failed"],
)
def test_only_vecmill_decides_the_exit_code(own: dict, code: int) -> None:
    peer = step("Peer", "1 %", 1.0, 0, state=State(0, 4, 0, 0, 0, None))
    assert exit_code([peer, step("vecmill", "1 %", 1.0, 2, **own)]) == code
