"""Several batches under way at once: the engine works on the next while the last is taken in.

batches ─ submit ─ at most `depth` under way ─ results, in the order of the batches
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tasks.embedders.protocol import Pending

B = TypeVar("B")


def in_flight(
    submit: Callable[[B], Pending], batches: Iterable[B], depth: int
) -> Iterator[tuple[B, Pending]]:
    """Each batch with its pending vectors, in order; at most `depth` are under way.

    An error belongs to its batch: it is raised when that batch's vectors are asked for, even where
    `submit` itself raised it.
    """
    under_way: deque[tuple[B, Pending]] = deque()
    for batch in batches:
        under_way.append((batch, _begun(submit, batch)))
        if len(under_way) >= depth:
            yield under_way.popleft()
    yield from under_way


def _begun(submit: Callable[[B], Pending], batch: B) -> Pending:
    try:
        return submit(batch)
    except Exception as error:  # noqa: BLE001  told to whoever asks for the batch
        failure = error

        def failed() -> None:
            raise failure

        return failed  # type: ignore[return-value]  # it never returns
