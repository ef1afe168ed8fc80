"""A table on an object store: whether the store answers at all, and what its errors mean.

    reach(uri, options)   once in a process, before the table is opened: one small request
    trouble(error)        the cause and the next step, from what Lance says

Lance repeats a listing that gets no answer six times for 30 seconds each, in silence. So the first
request of a process is one that is not repeated like that and that waits for seconds alone.
"""

from __future__ import annotations

import re
from functools import lru_cache

from schemas.errors import VecmillError
from schemas.formats import scheme_of
from tasks.store.opening import resolve_options, without_credentials

REACH_SECONDS = 10
"""Waited for the first answer of an object store: S3 answers in 0.1 s, from afar in 1 s."""

REACH_TRIES = 2
"""One lost connection is no reason to give up."""

PROBE = "vecmill-probe"
"""An object that need not exist: being told so is an answer."""

UNWELL = "the store answered with errors of its own, also when asked again"

CAUSES = (
    (
        r"nosuchbucket|bucket does not exist|containernotfound|container does not exist",
        "the bucket does not exist",
        "create it, or correct `uri` in the spec",
    ),
    (
        r"failed to get aws credentials|no credentials|not load credentials|failedtoloadtoken"
        r"|metadata.*credential",
        "no credentials were found",
        "set the store's variables (for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), or name "
        "those that hold them under storage_options",
    ),
    (
        r"status code: 40[13]|accessdenied|forbidden|unauthori[sz]ed|signaturedoesnotmatch"
        r"|invalidaccesskeyid",
        "the store refused the request",
        "see whether the credentials are right and may read, write and delete below `uri`",
    ),
    (
        r"builder error|invalid url|url scheme is not allowed|relative url|missing region"
        r"|unknown url scheme|generic config error|badscheme",
        "the storage options do not describe a store",
        "correct storage_options and the variables that they name (an endpoint needs its scheme; "
        "http:// needs allow_http set to true)",
    ),
    (
        r"error sending request|connection refused|timed out|operation timeout|dns error",
        "the store did not answer",
        "see whether the endpoint is right and can be reached from here",
    ),
    (
        r"status code: (5\d\d|429)|slowdown|internalerror|serviceunavailable|server error",
        UNWELL,
        "wait until it is well",
    ),
)
"""Part of what Lance says, in small letters → the cause, and what to do before the next run."""

_LANCE_ERROR = re.compile(r"lanceerror|generic (s3|gcs|microsoftazure|n/a|config) error", re.I)
_SOURCE_LINE = re.compile(r",? ?/[^\s,]*\.rs:\d+:\d+")
"""Where in Lance's source an error arose: of no use to whoever reads the message."""

_PLACES = re.compile(r"https?://\S+|s3://\S+")
"""What a place is called says nothing about the error, whatever words are in it."""

SHOWN = 400
"""Characters of a store's own words: an XML error has its code and message in there."""


class StoreError(VecmillError):
    """The object store of a table cannot be used; nothing is known of the table itself."""


def reach(uri: str, options: tuple[tuple[str, str], ...]) -> None:
    """Ask the store behind `uri` for an object; `options` are (option, variable) pairs.

    Raises `StoreError` where nothing answers within `REACH_SECONDS`, or the store refuses. A folder
    is always reached; a place that was reached is not asked again by this process.
    """
    if scheme_of(uri) not in (None, "file"):
        _reach(uri, options)


@lru_cache(64)
def _reach(uri: str, options: tuple[tuple[str, str], ...]) -> None:
    from lance.file import LanceFileSession

    values = resolve_options(options)
    wait = f"{REACH_SECONDS}s"
    quick = {"timeout": wait, "connect_timeout": wait, "client_max_retries": "0"}
    error: Exception | None = None
    for _ in range(REACH_TRIES):
        try:
            LanceFileSession(uri, storage_options={**values, **quick}).contains(PROBE)
            return
        except (OSError, ValueError, RuntimeError) as failed:  # Lance has no class for it
            error = failed
    assert error is not None
    cause, step = trouble(error) or ("the store failed", "see what it says")
    if cause != UNWELL:  # that is an answer: whoever asks next asks with Lance's patience
        raise StoreError(
            f"the table's place {uri} cannot be used: {cause}; {step}, and run again. "
            f"It said: {words(error)}"
        ) from None  # the error itself may quote a credential, and would be shown as the cause


def trouble(error: BaseException) -> tuple[str, str] | None:
    """(cause, next step) of an object store's error as Lance raises it; None for any other."""
    text = _PLACES.sub("", str(error)).lower()
    if not _LANCE_ERROR.search(text):
        return None
    return next(((cause, step) for part, cause, step in CAUSES if re.search(part, text)), None)


def words(error: BaseException) -> str:
    """What the store said, on one line, without credentials and places in Lance's source."""
    return without_credentials(_SOURCE_LINE.sub("", " ".join(str(error).split())))[:SHOWN]
