"""An S3 for tests: moto's server as a process of its own, on a port of this machine alone."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "made-up-key-id",
    "AWS_SECRET_ACCESS_KEY": "made-up-secret-of-the-tests",
    "AWS_REGION": "us-east-1",
}
"""What the tests set in the environment; moto takes any."""

START_SECONDS = 60
"""Waited for the server: it starts in a second on an idle machine."""


@dataclass(frozen=True)
class Bucket:
    """A bucket of a store that answers at `endpoint`."""

    endpoint: str
    name: str

    @property
    def uri(self) -> str:
        """Where a table may lie."""
        return f"s3://{self.name}/tables"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that `STORAGE_OPTIONS` name."""
        return {**CREDENTIALS, "TEST_S3_ENDPOINT": self.endpoint, "TEST_S3_HTTP": "true"}

    @property
    def options(self) -> dict[str, str]:
        """Storage option → value, for a reader that knows nothing of vecmill."""
        return {option: self.environment[name] for option, name in STORAGE_OPTIONS.items()}


STORAGE_OPTIONS = {
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_region": "AWS_REGION",
    "aws_endpoint": "TEST_S3_ENDPOINT",
    "allow_http": "TEST_S3_HTTP",
}
"""As a spec writes them."""


def new_bucket(endpoint: str) -> Bucket:
    """A fresh, empty bucket."""
    bucket = Bucket(endpoint, f"test-{secrets.token_hex(6)}")
    request = urllib.request.Request(f"{endpoint}/{bucket.name}", method="PUT")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200
    return bucket


@contextmanager
def s3_server() -> Iterator[str]:
    """Run moto's server for the time of the block; yields its endpoint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **CREDENTIALS},
    )
    try:
        _wait(server, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _wait(server: subprocess.Popen, endpoint: str) -> None:
    for _ in range(START_SECONDS * 20):
        assert server.poll() is None, "moto's server ended"
        try:
            urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise AssertionError(f"moto's server did not answer within {START_SECONDS} s")
