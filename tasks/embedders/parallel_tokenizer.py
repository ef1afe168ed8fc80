"""A tokenizer that keeps up with a GPU: child processes that give back flat arrays.

    texts ─ pieces ─ one process each: Rust tokenizer, ids → int32 array ─ one `Tokens`

On an H200 with 16 cores a model of MiniLM's size takes 10 million tokens a second. The Rust
tokenizer gives 7.5 million there on all cores; taking over its lists of Python integers, under
Python's lock and in the process that also feeds the GPU, leaves 4.7 to 5.8. A table of words
(`word_table.py`) gives 8 million a core, but holds the lock. Arrays from other processes cost this
one 10 ns a token. On a CPU the model takes a hundred times longer than its tokenizer, and nothing
is gained.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np

from tasks.embedders.batching import refuse_empty
from tasks.embedders.fast_tokenizer import FastTokenizer
from tasks.embedders.tokens import Tokens
from tasks.processes.cores import usable_cores
from tasks.processes.pool import Place, ProcessPool

FEWEST = 1_024
"""Fewer texts are tokenised here, on every core: queries, and what a process would not repay."""

PIECE = 512
"""Texts in a call: 10 to 100 ms of one process, so that the last to end keeps nobody waiting."""

LEFT_FREE = 2
"""Cores for the process that feeds the GPU and for reading what comes next."""

MOST_PROCESSES = 4
"""They gave 21 to 28 million tokens a second, twice what a small model takes; each is a thread of
this process more, which takes its lock from the one that feeds the GPU (14 of them: 3 % slower)."""


class ParallelTokenizer(FastTokenizer):
    """A `FastTokenizer` whose long lists are tokenised in `processes` child processes.

    They start with the first long list and end with this process. `processes` null: as the
    cores allow, and `RAYON_NUM_THREADS`, by which workers share them out.
    """

    def __init__(self, content: str, *, processes: int | None = None, **options: Any) -> None:
        super().__init__(content, **options)
        cores = usable_cores("RAYON_NUM_THREADS") - LEFT_FREE
        self._processes = processes or max(1, min(MOST_PROCESSES, cores))
        self._first = (tokenize_here, content, options)
        self._starting = Lock()  # newer Pythons' cached_property has none

    def tokenize(self, texts: Sequence[str], *, query: bool = False) -> Tokens:
        """See `FastTokenizer.tokenize`."""
        if len(texts) < FEWEST or self._processes < 2:
            return super().tokenize(texts, query=query)
        refuse_empty(texts)
        size = min(PIECE, -(-len(texts) // self._processes))
        pieces = [list(texts[i : i + size]) for i in range(0, len(texts), size)]
        with self._starting:  # several slices are tokenised at a time
            pool, threads = self._pool
        made = threads.map(lambda piece: pool.call(tokenize_piece, piece, query), pieces)
        return joined(list(made), query)

    def close(self) -> None:
        """End the processes, if any began."""
        if "_pool" in self.__dict__:
            pool, threads = self._pool
            threads.shutdown()
            pool.close()
            del self._pool

    @cached_property
    def _pool(self) -> tuple[ProcessPool, ThreadPoolExecutor]:
        alone = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
        places = [Place(f"core {i}", alone) for i in range(self._processes)]
        pool = ProcessPool("tokenizer", places, _nobody, self._first)
        return pool, ThreadPoolExecutor(self._processes, thread_name_prefix="tokenizer")


def joined(parts: Sequence[Tokens], query: bool = False) -> Tokens:
    """Several `Tokens` one after the other."""
    starts = np.cumsum([0, *(len(part.ids) for part in parts)])[:-1]
    offsets = [part.offsets[1:] + start for part, start in zip(parts, starts, strict=True)]
    ids = np.concatenate([part.ids for part in parts])
    return Tokens(ids, np.concatenate([np.zeros(1, np.int64), *offsets]), query)


def _nobody(_text: str) -> None:
    """A tokenizer process that died costs a moment: its texts are tokenised in another."""


# In the child process

_tokenizer: FastTokenizer | None = None


def tokenize_here(content: str, options: dict[str, Any]) -> None:
    """The tokenizer of this process from now on."""
    global _tokenizer
    _tokenizer = FastTokenizer(content, **options)


def tokenize_piece(texts: list[str], query: bool) -> Tokens:
    """The texts as this process's tokenizer gives them."""
    assert _tokenizer is not None
    return _tokenizer.tokenize(texts, query=query)
