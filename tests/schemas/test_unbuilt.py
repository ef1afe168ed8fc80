"""Options whose part is not built yet: refused by name when written, off when left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.load import parse_spec
from schemas.mistakes import SpecError
from schemas.outline import key_paths
from schemas.spec import SpaceSpec
from schemas.unbuilt import UNBUILT, unbuilt_mistakes


def spec_with(path: str, value: Any) -> dict[str, Any]:
    """A right spec with one more value, `source.` meaning its only source."""
    data: dict[str, Any] = {
        "space": "handbook",
        "uri": "./lancedb",
        "sources": [{"name": "docs", "kind": "text", "path": "docs/"}],
        "embedder": {"kind": "open-clip", "model": "some/model"},
    }
    *above, last = path.split(".")
    place = data
    for part in above:
        place = data["sources"][0] if part == "source" else place.setdefault(part, {})
    place[last] = value
    return data


REFUSED = [
    ("audit.canary", "refuse", "audit.canary", "expected off (the canary gate is not built yet)"),
    ("audit.verify", "warn", "audit.verify", "expected off (the verification gate is not built"),
    ("audit.drift", "warn", "audit.drift", "expected off (the drift gate is not built yet)"),
    ("audit.recall", 0.95, "audit.recall", "expected off (the recall gate of the index is not"),
    ("compute.engine", "work-pool", "compute.engine", "expected local (any compute engine but"),
    ("compute.engine", "ray", "compute.engine", "expected local"),
    ("storage_options", "my-block", "storage_options", "from a Prefect block is not built yet"),
    ("workdir", "az://container/work", "workdir", "a workdir on an object store is not built yet"),
    ("workdir", "s3://bucket/work", "workdir", "expected a local or shared folder"),
]


@pytest.mark.parametrize(
    ("path", "value", "place", "message"), REFUSED, ids=[f"{c[0]}={c[1]}" for c in REFUSED]
)
def test_an_unbuilt_option_is_refused_by_name(
    tmp_path: Path, path: str, value: Any, place: str, message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(spec_with(path, value), tmp_path, "space.yaml")
    (mistake,) = caught.value.mistakes
    assert mistake.path == place
    assert "is not built yet" in str(mistake)
    assert message in str(mistake)


OFF = [
    ("cluster", None),
    ("audit.canary", "off"),
    ("audit.verify", False),  # what YAML 1.1 makes of a bare off
    ("audit.drift", "off"),
    ("audit.recall", "off"),
    ("audit.recall", False),
    ("publish.keep", None),
    ("compute.engine", "local"),
    ("storage_options", None),
    ("uri", "file:///tmp/tables"),
    ("uri", "s3://bucket/tables"),
    ("uri", "gs://bucket"),
    ("uri", "az://container/tables"),
    ("source.path", "s3://bucket/docs/*.md"),
]


@pytest.mark.parametrize(("path", "value"), OFF, ids=[f"{path}={value}" for path, value in OFF])
def test_written_as_off_it_is_fine(tmp_path: Path, path: str, value: Any) -> None:
    parse_spec(spec_with(path, value), tmp_path, "space.yaml")


def test_every_entry_of_the_table_is_tested_and_names_a_field() -> None:
    tested = {path.replace("source.", "sources[].") for path, *_ in REFUSED}
    assert {each.path for each in UNBUILT} == tested
    assert tested <= {path for _, path in key_paths(SpaceSpec)}


def test_no_default_is_refused(tmp_path: Path) -> None:
    spec = parse_spec(spec_with("space", "handbook"), tmp_path, "space.yaml")
    assert unbuilt_mistakes(spec.model_dump(mode="json")) == []


def test_a_wrong_word_is_a_wrong_word_even_where_an_option_is_unbuilt(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="did you mean refuse") as caught:
        parse_spec(spec_with("audit.canary", "refus"), tmp_path, "space.yaml")
    assert "not built" not in str(caught.value)
