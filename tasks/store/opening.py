"""Opening a file wherever it lies: a local path, or a URI that an installed fsspec driver knows.

Storage options travel as names of environment variables and are resolved here, when something is
opened, so that no secret enters a reference, a manifest or a log.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from schemas.errors import MissingExtraError, UsageError
from schemas.formats import file_path, scheme_of

DRIVERS = {
    "s3": ("s3fs", "s3"),
    "s3a": ("s3fs", "s3"),
    "gs": ("gcsfs", "gs"),
    "gcs": ("gcsfs", "gs"),
    "az": ("adlfs", "azure"),
    "abfs": ("adlfs", "azure"),
    "abfss": ("adlfs", "azure"),
    "http": ("aiohttp", "http"),
    "https": ("aiohttp", "http"),
}
"""Scheme → package that speaks it, and the extra that installs it."""

DRIVER_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "s3": {
        "aws_access_key_id": ("key",),
        "access_key_id": ("key",),
        "aws_secret_access_key": ("secret",),
        "secret_access_key": ("secret",),
        "aws_session_token": ("token",),
        "session_token": ("token",),
        "aws_endpoint": ("endpoint_url",),
        "endpoint": ("endpoint_url",),
        "aws_endpoint_url": ("endpoint_url",),
        "aws_region": ("client_kwargs", "region_name"),
        "region": ("client_kwargs", "region_name"),
        "allow_http": (),  # the endpoint's scheme says it
        "aws_allow_http": (),
    },
    "gs": {
        "google_service_account": ("token",),
        "service_account": ("token",),
        "google_application_credentials": ("token",),
    },
    "azure": {
        "azure_storage_account_name": ("account_name",),
        "azure_storage_account_key": ("account_key",),
        "azure_storage_sas_token": ("sas_token",),
        "azure_client_id": ("client_id",),
        "azure_client_secret": ("client_secret",),
        "azure_tenant_id": ("tenant_id",),
    },
}
"""LanceDB's names of an option → fsspec's: one set of options serves the table and its sources."""


HARMLESS = ("region", "endpoint", "http", "timeout", "retr", "style")
"""Parts of an option's name whose value is no secret and helps to understand an error."""

SHORTEST_SECRET = 6
"""Characters: a value shorter than that would be found in any text."""

_RESOLVED: dict[str, str] = {}
"""Value → option, of every credential that this process resolved."""


def local_path(uri: str) -> Path | None:
    """The path of a local file or `file://` URI; None for an object store."""
    if scheme_of(uri) is None:
        return Path(uri)
    path = file_path(uri)
    return None if path is None else Path(path)


def resolve_options(names: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Option → value, from option → name of the environment variable that holds it.

    Raises `UsageError` naming every variable that is not set.
    """
    pairs = tuple(names)
    missing = [(option, name) for option, name in pairs if name not in os.environ]
    if missing:
        said = ", ".join(f"storage_options.{option}: {name}" for option, name in missing)
        raise UsageError(
            f"{said}: no such environment variable; storage_options name the variables that hold "
            "the values, so set them where vecmill runs"
        )
    values = {option: os.environ[name] for option, name in pairs}
    _RESOLVED.update((value, option) for option, value in values.items() if _is_secret(option))
    return values


def _is_secret(option: str) -> bool:
    return not any(part in option.lower() for part in HARMLESS)


def without_credentials(text: str) -> str:
    """The text without any value that a storage option of this process had, but harmless ones.

    For what a library says of a store long after its options were resolved.
    """
    for value, option in _RESOLVED.items():
        if len(value) >= SHORTEST_SECRET:
            text = text.replace(value, f"({option})")
    return text


def without_values(text: str, options: dict[str, Any]) -> str:
    """The text without any option's value: a driver may quote one in its error."""
    for option, value in options.items():
        text = text.replace(str(value), f"({option})") if value else text
    return text


def filesystem(uri: str, options: dict[str, Any]) -> Any:
    """The fsspec file system of a URI, with `options` under LanceDB's or fsspec's names.

    Raises `MissingExtraError` where its driver is not installed, `UsageError` for a scheme that
    fsspec does not know.
    """
    import fsspec

    scheme = scheme_of(uri) or "file"
    try:
        driver = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        package, extra = DRIVERS.get(scheme, (scheme, scheme))
        raise MissingExtraError(package, extra, f"reading {scheme}://") from error
    except ValueError as error:
        raise UsageError(
            f"{uri!r}: fsspec knows no {scheme}://; expected a local path or one of "
            f"{', '.join(sorted(DRIVERS))}"
        ) from error
    return driver(**_driver_options(scheme, options))


def _driver_options(scheme: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options under the driver's own names; none for drivers without credentials."""
    if scheme not in DRIVERS or scheme.startswith("http"):
        return {}
    names = DRIVER_NAMES[DRIVERS[scheme][1]]
    out: dict[str, Any] = {}
    for option, value in options.items():
        path = names.get(option.lower(), (option,))
        if not path:
            continue
        place = out
        for step in path[:-1]:
            place = place.setdefault(step, {})
        place[path[-1]] = value
    return out


def open_uri(uri: str, options: dict[str, Any] | None = None) -> BinaryIO:
    """The file's bytes, seekable; the caller closes it. Raises `OSError` where it cannot."""
    path = local_path(uri)
    if path is not None:
        return path.open("rb")
    return filesystem(uri, options or {}).open(uri, "rb")
