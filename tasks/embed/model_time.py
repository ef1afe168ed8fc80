"""How long the model worked, of all the time that a shard took."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")


class ModelTime:
    """Seconds by the clock that its caller spent in the model, or waiting for its vectors."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def of(self, call: Callable[..., T]) -> Callable[..., T]:
        """`call`, and its time counts; that of a call that raised, too."""

        def counted(*arguments: object) -> T:
            start = perf_counter()
            try:
                return call(*arguments)
            finally:
                self.seconds += perf_counter() - start

        return counted
