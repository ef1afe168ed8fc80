"""Builds of one space take turns where a Prefect server exists: a concurrency limit of one.

The limit (`vecmill-<space>-<digest of its uri>`) is made when it is missing and never changed
again: raise or deactivate it in the UI and builds race, which is safe and only wastes work. That is
also the way out: a build that has waited for long goes on without its turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.logging import get_run_logger

from schemas.identity import digest_bytes
from schemas.spec import SpaceSpec

WAIT_SECONDS = 3_600.0
"""Waited for a turn at most: longer than a build of a space that is built on a schedule."""

TURN_SECONDS = 120.0
"""Time to live of a turn, renewed by Prefect while the run lives: a killed run blocks the next one
no longer than that (and the 15 s between two looks of the server)."""


def limit_name(spec: SpaceSpec) -> str:
    """The limit of a space: spaces of one name in two places do not wait for each other."""
    return f"vecmill-{spec.space}-{digest_bytes(spec.uri.encode()).hex()[:8]}"


@contextmanager
def turn(spec: SpaceSpec) -> Iterator[None]:
    """Hold the space's turn for the block; after `WAIT_SECONDS` the block runs without it."""
    log, name = get_run_logger(), limit_name(spec)
    with ExitStack() as held:
        try:
            if _taken(name):
                log.info(
                    f"another build of {spec.space!r} is running: waiting for its end, at most "
                    f"{WAIT_SECONDS:,.0f} s (concurrency limit {name!r})"
                )
            held.enter_context(
                concurrency(
                    name,
                    timeout_seconds=WAIT_SECONDS,
                    lease_duration=TURN_SECONDS,
                    raise_on_lease_renewal_failure=False,
                )
            )
        except TimeoutError:
            log.warning(
                f"the other build of {spec.space!r} did not end within {WAIT_SECONDS:,.0f} s: "
                "building beside it; of the two one publishes and the other plans again"
            )
        except (httpx.HTTPStatusError, ConcurrencySlotAcquisitionError) as error:
            log.warning(
                f"the Prefect server gave no turn by the concurrency limit {name!r} ({error}): "
                "building without one; builds of one space that run at once plan again"
            )
        yield


def _taken(name: str) -> bool:
    """Whether another run has the turn now; makes the limit where it is missing."""
    with get_client(sync_client=True) as client:
        try:
            limit = client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            with suppress(ObjectAlreadyExists):  # another build was faster
                client.create_global_concurrency_limit(
                    GlobalConcurrencyLimitCreate(name=name, limit=1)
                )
            return False
        return limit.active and limit.active_slots >= limit.limit
