"""Tokens from several processes are those of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from schemas.errors import UsageError
from tasks.embedders import parallel_tokenizer as module
from tasks.embedders.fast_tokenizer import FastTokenizer
from tasks.embedders.parallel_tokenizer import ParallelTokenizer, joined
from tasks.embedders.tokens import Tokens

OPTIONS = {"prompt": "", "query_prompt": "ask: ", "max_length": 32, "special": True}
TEXTS = [" ".join(["word", "naïve", "東京", "x" * (i % 40 + 1)] * (i % 9 + 1)) for i in range(300)]


@pytest.fixture(scope="module")
def content(minilm) -> str:
    return (Path(minilm) / "tokenizer.json").read_text()


@pytest.fixture(scope="module")
def parallel(content) -> Iterator[ParallelTokenizer]:
    tokenizer = ParallelTokenizer(content, processes=2, **OPTIONS)
    yield tokenizer
    tokenizer.close()


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    monkeypatch.setattr(module, "FEWEST", 50)
    monkeypatch.setattr(module, "PIECE", 32)


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "tasks.processes.serve" in p.cmdline()]


@pytest.mark.parametrize("query", [False, True])
def test_tokens_of_processes_are_those_of_one(content, parallel, query) -> None:
    alone = FastTokenizer(content, **OPTIONS).tokenize(TEXTS, query=query)
    tokens = parallel.tokenize(TEXTS, query=query)

    assert len(children()) == 2
    assert (tokens.ids.dtype, tokens.offsets.dtype) == (np.int32, np.int64)
    np.testing.assert_array_equal(tokens.ids, alone.ids)
    np.testing.assert_array_equal(tokens.offsets, alone.offsets)
    assert tokens.query is query


def test_a_few_texts_start_no_process(content) -> None:
    before = len(children())
    tokenizer = ParallelTokenizer(content, processes=2, **OPTIONS)
    assert len(tokenizer.tokenize(TEXTS[:49])) == 49
    assert len(children()) == before


def test_a_process_that_dies_is_replaced(content, parallel) -> None:
    alone = FastTokenizer(content, **OPTIONS).tokenize(TEXTS)
    parallel.tokenize(TEXTS)
    for child in children():
        os.kill(child.pid, signal.SIGKILL)

    np.testing.assert_array_equal(parallel.tokenize(TEXTS).ids, alone.ids)


def test_an_empty_text_is_refused(parallel) -> None:
    with pytest.raises(UsageError, match="empty text"):
        parallel.tokenize([*TEXTS, ""])


def test_joined_tokens_follow_each_other() -> None:
    tokens = joined([Tokens.from_lists([[1, 2], [3]]), Tokens.from_lists([[4, 5, 6]])])
    assert tokens.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert tokens.offsets.tolist() == [0, 2, 3, 6]


SCRIPT = """
import sys
from pathlib import Path
from tasks.embedders.parallel_tokenizer import ParallelTokenizer
tokenizer = ParallelTokenizer(Path(sys.argv[1]).read_text(), processes=2, prompt="",
                              query_prompt="", max_length=32, special=True)
print(len(tokenizer.tokenize(["a few words"] * 2000)))
"""


def test_a_script_that_used_them_ends(minilm) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(Path(minilm) / "tokenizer.json")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2000\n", "")
