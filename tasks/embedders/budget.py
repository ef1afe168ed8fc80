"""How many tokens a batch holds: measured once on this device, kept beside the exported models.

    <exports>/<fingerprint>/budget-<engine>-<precision>-<device>.json

Small jobs use the default: they would be done before the measuring is. A budget that ran out of
memory is lowered, here and for whoever comes next.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from time import perf_counter

from schemas.refs import EmbedderRef
from tasks.store.workdir import TEMPORARY, mark_used

MEASURE_AFTER = 100_000
"""Tokens that one process embeds before it measures: a few times what measuring costs."""

REPEATS = 2
"""Each budget is tried so often, one after the other in turn; its best time counts."""

SLOW_BATCH = 0.25
"""Seconds for a batch of the smallest budget beyond which all budgets are alike: overheads of
milliseconds a batch are what a larger one saves. Nothing is kept then: the machine may be busy."""

WORTH_IT = 1.02
"""A larger budget has to be so much faster: it costs memory, and leaves more cores idle at the end
of a shard. Runs of one budget differ by 1 to 2 %."""

Trial = Callable[[int], int]
"""Embeds some batches of that budget; gives the tokens in them."""


class TokenBudget:
    """The budget of one embedder: read by batchers, lowered on running out of memory.

    `candidates` are the budgets to measure, smallest first; none: nothing is measured. `device`
    names what it was measured on; a batch should last `shortest` seconds there.
    """

    def __init__(
        self,
        ref: EmbedderRef,
        device: str,
        default: int,
        candidates: Sequence[int] = (),
        shortest: float = 0.0,
    ) -> None:
        self._shortest = shortest
        self._path = _path(ref, device)
        self._candidates = tuple(candidates)
        self._lock = Lock()
        kept = _read(self._path)
        self._tokens = kept or default
        self._wanting = kept is None and self._path is not None and len(self._candidates) > 1
        self._seen = 0

    @property
    def tokens(self) -> int:
        """Padded tokens in a batch."""
        return self._tokens

    def count(self, tokens: int) -> None:
        """That many tokens were embedded."""
        self._seen += tokens

    @property
    def due(self) -> bool:
        """Whether it is time to measure."""
        return self._wanting and self._seen >= MEASURE_AFTER

    def measure(self, trial: Trial) -> None:
        """Try the candidates and keep the best; whoever else asks meanwhile uses the old one."""
        if not self.due or not self._lock.acquire(blocking=False):
            return
        try:
            if self.due:
                self._wanting = False
                if best := fastest(trial, self._candidates, self._shortest):
                    self._set(best)
        finally:
            self._lock.release()

    def fix(self, tokens: int) -> None:
        """Use that budget from now on, measuring nothing and keeping nothing."""
        self._wanting = False
        self._tokens = tokens

    def lower(self, failed: int) -> None:
        """A batch of `failed` padded tokens ran out of memory: half of it is the most from now."""
        smaller = max(1, min(self._tokens, failed // 2))
        if smaller < self._tokens:
            self._wanting = False
            self._set(smaller)

    def _set(self, tokens: int) -> None:
        self._tokens = tokens
        if self._path is not None:
            _write(self._path, tokens)


def fastest(trial: Trial, candidates: Sequence[int], shortest: float = 0.0) -> int | None:
    """The smallest of the candidates that no larger one beats; None where it makes no difference.

    One whose batch lasts less than `shortest` seconds gives way to a larger one that is as fast.
    The first run of all is thrown away: it pays for what is set up once.
    """
    started = perf_counter()
    trial(candidates[0])
    started, first = perf_counter(), perf_counter() - started
    trial(candidates[0])
    if min(first, perf_counter() - started) > SLOW_BATCH:
        return None
    rates = dict.fromkeys(candidates, 0.0)
    for _ in range(REPEATS):
        for budget in candidates:
            started = perf_counter()
            tokens = trial(budget)
            rates[budget] = max(rates[budget], tokens / (perf_counter() - started))
    best = candidates[0]
    for budget in candidates[1:]:
        if rates[budget] > WORTH_IT * rates[best]:
            best = budget
    alike = [each for each in candidates if each >= best and rates[each] * WORTH_IT >= rates[best]]
    long = [each for each in alike if each >= shortest * rates[each]]
    return long[0] if long else alike[-1]


def _path(ref: EmbedderRef, device: str) -> Path | None:
    if not ref.exports:
        return None
    name = "-".join([ref.engine, ref.precision, re.sub(r"[^a-z0-9]+", "-", device.lower())])
    return Path(ref.exports) / ref.fingerprint / f"budget-{name}.json"


def _read(path: Path | None) -> int | None:
    """The budget in that file; None where there is none that can be read."""
    if path is None or not path.is_file():
        return None
    try:
        tokens = json.loads(path.read_text())["tokens"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # measured again, and the file replaced
    mark_used(path)
    return tokens if isinstance(tokens, int) and tokens > 0 else None


def _write(path: Path, tokens: int) -> None:
    """Put the file in place whole; that it cannot be written fails no batch."""
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"tokens": tokens}))
        temporary.replace(path)
    except OSError as error:
        told = f"the token budget {tokens} could not be kept in {path}: {error}"
        warnings.warn(told, stacklevel=2)
