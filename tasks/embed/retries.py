"""When a shard that failed is tried again: the same with Prefect and without it."""

from __future__ import annotations

from schemas.errors import VecmillError

RETRIES = 2
"""A shard is idempotent: its vectors are found by content, whoever wrote them."""

RETRY_SECONDS = 5
"""By then a store that refused for a moment answers, and a full device may have been freed."""


def may_pass(failure: object) -> bool:
    """Whether a failure may be gone on the next try; what vecmill itself refuses will not be."""
    return isinstance(failure, Exception) and not isinstance(failure, VecmillError)
