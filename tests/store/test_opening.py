"""Storage options under LanceDB's names reach fsspec's drivers under theirs; secrets stay out."""

from __future__ import annotations

import pytest

from schemas.errors import UsageError
from tasks.store.opening import filesystem, local_path, open_uri, resolve_options


class Driver:
    """Stands for an installed driver; keeps what it was given."""

    def __init__(self, **options):
        self.options = options


@pytest.mark.parametrize(
    ("uri", "options", "given"),
    [
        (
            "s3://bucket/x",
            {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region": "eu-1"},
            {"key": "k", "secret": "s", "client_kwargs": {"region_name": "eu-1"}},
        ),
        (
            "s3://bucket/x",
            {"aws_endpoint": "http://localhost:9000", "allow_http": "true", "anon": "1"},
            {"endpoint_url": "http://localhost:9000", "anon": "1"},
        ),
        ("gs://bucket/x", {"google_service_account": "a.json"}, {"token": "a.json"}),
        ("az://box/x", {"azure_storage_account_name": "n"}, {"account_name": "n"}),
        ("https://example.org/x", {"aws_access_key_id": "k"}, {}),
    ],
)
def test_options_by_the_drivers_names(monkeypatch, uri, options, given):
    monkeypatch.setattr("fsspec.get_filesystem_class", lambda scheme: Driver)
    assert filesystem(uri, options).options == given


def test_every_unset_variable_is_named(monkeypatch):
    monkeypatch.setenv("SET", "value")
    names = [("key", "UNSET_1"), ("secret", "UNSET_2"), ("region", "SET")]
    with pytest.raises(UsageError) as error:
        resolve_options(names)
    assert "storage_options.key: UNSET_1, storage_options.secret: UNSET_2" in str(error.value)
    assert resolve_options([("region", "SET")]) == {"region": "value"}


def test_local_paths_in_both_spellings(tmp_path):
    (tmp_path / "a b?.txt").write_text("x")
    for uri in (str(tmp_path / "a b?.txt"), f"file://{tmp_path}/a%20b?.txt"):
        assert local_path(uri) == tmp_path / "a b?.txt"
        with open_uri(uri) as file:
            assert file.read() == b"x"
    assert local_path("s3://bucket/x") is None
