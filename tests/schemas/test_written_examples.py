"""The specs that people copy: the README's, and the design's without what is not built yet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from schemas.load import parse_spec
from schemas.mistakes import SpecError
from schemas.outline import key_paths
from schemas.spec import SpaceSpec
from schemas.yaml_text import parse_yaml

REPOSITORY = Path(__file__).parents[2]


def example(text: str) -> dict[str, Any]:
    """The one spec among the YAML blocks of a page."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    [spec] = [block for block in blocks if block.startswith("space:")]
    data = parse_yaml(spec).data
    assert isinstance(data, dict)
    return data


def test_the_readmes_spec_is_right_and_says_every_choice(tmp_path: Path) -> None:
    data = example((REPOSITORY / "README.md").read_text("utf-8"))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# A")
    (tmp_path / "tickets.parquet").touch()
    spec = parse_spec(data, tmp_path, "README.md")
    assert [source.name for source in spec.sources] == ["docs", "tickets"]
    assert set(data) <= {path for _, path in key_paths(SpaceSpec)}


@pytest.fixture
def design(shared: Path) -> dict[str, Any]:
    """The design's own example."""
    return example((shared / "DESIGN.md").read_text("utf-8"))


def test_the_designs_spec_names_what_is_not_built(design: dict, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(design, tmp_path, "DESIGN.md")
    unbuilt = [m.path for m in caught.value.mistakes if "not built yet" in str(m)]
    assert unbuilt == [
        *("audit.canary", "audit.verify", "audit.drift", "audit.recall"),
    ]
    others = [m.path for m in caught.value.mistakes if m.path not in unbuilt]
    # The example says `path: docs/**/*.md` beside options of tables: both are shown in one source.
    assert others == ["sources[0].text", "sources[0].key", "sources[0].time", "sources[0].columns"]


def test_the_designs_spec_without_those_is_right(design: dict, tmp_path: Path) -> None:
    design["sources"][0]["path"] = "docs/**/*.parquet"
    for above, names in {
        "audit": ("canary", "verify", "drift", "recall"),
    }.items():
        for name in names:
            del design[above][name]
    spec = parse_spec(design, tmp_path, "DESIGN.md")
    assert (spec.publish.keep, spec.audit.recall) == (10, "off")
    assert (spec.cluster.k, spec.cluster.map) == ("auto", "pca")
    assert {path for _, path in key_paths(SpaceSpec)} >= set(design)
