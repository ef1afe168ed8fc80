"""The spec as a form: every field explains itself, and has a default where the design says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from schemas.errors import MissingExtraError, SourceError, UsageError, VecmillError
from schemas.outline import element_of, keys_of, model_of
from schemas.reasons import MEANING, Reason, expectation_reason
from schemas.spec import BuildOverrides, SourceSpec, SpaceSpec


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The model and every model in it."""
    yield model
    for field in keys_of(model).values():
        element = element_of(field.annotation)
        inner = model_of(field.annotation if element is None else element)
        if inner is not None:
            yield from models(inner)


EVERY = [*models(SpaceSpec), BuildOverrides]


@pytest.mark.parametrize("model", EVERY, ids=lambda model: model.__name__)
def test_every_field_has_a_description(model: type[BaseModel]) -> None:
    bare = [key for key, field in keys_of(model).items() if not field.description]
    assert bare == []
    assert model.__doc__


def test_only_these_fields_have_no_default() -> None:
    required = {
        f"{model.__name__}.{key}"
        for model in EVERY
        for key, field in keys_of(model).items()
        if field.is_required()
    }
    assert required == {
        *("SpaceSpec.space", "SpaceSpec.uri", "SpaceSpec.sources", "SpaceSpec.embedder"),
        *("SourceSpec.name", "SourceSpec.kind", "SourceSpec.path"),
        *("EmbedderSpec.kind", "EmbedderSpec.model", "ColumnSpec.name"),
    }


def test_the_defaults_are_those_of_the_design() -> None:
    fields = keys_of(SourceSpec)
    assert {key: fields[key].default for key in ("mode", "on_repeat", "max_shrink")} == {
        "mode": "snapshot",
        "on_repeat": "reject",
        "max_shrink": 0.2,
    }
    assert keys_of(SpaceSpec)["workdir"].default == "./.vecmill"


def test_a_source_is_found_by_its_name() -> None:
    spec = SpaceSpec.model_validate(
        {
            "space": "a",
            "uri": "db",
            "sources": [
                {"name": "docs", "kind": "text", "path": "d"},
                {"name": "pictures", "kind": "image", "path": "p"},
            ],
            "embedder": {"kind": "open-clip", "model": "m"},
        }
    )
    docs, pictures = spec.sources
    assert spec.source("pictures") is pictures
    assert spec.kinds == {"text", "image"}
    assert (spec.chunked(docs), spec.chunked(pictures)) == (True, False)
    assert not spec.model_copy(update={"chunk": None}).chunked(docs)
    with pytest.raises(KeyError):
        spec.source("nothing")


def test_every_reason_says_what_it_means() -> None:
    assert set(MEANING) == set(Reason)
    assert all(reason.value == reason.value.lower() and " " not in reason for reason in Reason)
    assert expectation_reason("expect_column_values_to_not_be_null") == (
        "expectation:expect_column_values_to_not_be_null"
    )


def test_each_error_has_its_exit_code() -> None:
    assert VecmillError("x").exit_code == 1
    assert UsageError("x").exit_code == 2
    assert SourceError("docs", "x").source == "docs"


def test_a_missing_package_prints_its_install_line() -> None:
    error = MissingExtraError("s3fs", "s3", "reading s3://")
    assert str(error) == (
        "reading s3:// needs the package 's3fs', which is not installed: pip install 'vecmill[s3]'"
    )
    assert error.exit_code == 2
