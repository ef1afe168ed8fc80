"""Commands that do not build load neither Prefect nor torch, and so answer quickly."""

from __future__ import annotations

import pytest

HEAVY = ["prefect", "torch", "sentence_transformers", "transformers", "open_clip", "timm"]
HEAVIER = [*HEAVY, "great_expectations", "lance", "lancedb", "pyarrow", "polars"]

LOADED = "print('loaded:', [m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        pytest.param(["--help"], HEAVIER, id="help"),
        pytest.param(["build", "--help"], HEAVIER, id="build help"),
        pytest.param(["biuld"], HEAVIER, id="unknown command"),
        pytest.param(["build", "nowhere.yaml"], HEAVIER, id="build without a spec"),
        pytest.param(["versions", "{spec}"], HEAVY, id="versions"),
        pytest.param(["diff", "{spec}", "prod", "v0001"], HEAVY, id="diff"),
        pytest.param(["audit", "{spec}"], HEAVY, id="audit"),
        pytest.param(["rollback", "{spec}", "--to", "v0001"], HEAVY, id="rollback"),
        pytest.param(["accept", "{spec}", "0", "--reason", "x"], HEAVY, id="accept"),
        pytest.param(["rejects", "{spec}"], HEAVY, id="rejects"),
        pytest.param(["rejects", "{spec}", "--retry", "--build", "x"], HEAVY, id="wrong retry"),
        pytest.param(["report", "{spec}"], HEAVY, id="report"),
        pytest.param(["maintain", "{spec}"], HEAVY, id="maintain"),
        pytest.param(["forget", "{spec}", "--key", "cat"], HEAVY, id="forget"),
        pytest.param(["search", "{spec}", "cat", "--mode", "text"], HEAVY, id="text search"),
    ],
)
def test_light(built, fresh, arguments, heavy):
    words = [argument.replace("{spec}", str(built)) for argument in arguments]
    answer = fresh(*words, after=LOADED.format(heavy=heavy))
    assert "loaded: []" in answer.err


def test_a_plain_build_does_not_load_prefect(built, fresh):
    answer = fresh("build", built, "--json", after=LOADED.format(heavy=["prefect", "fastapi"]))
    assert answer.code == 0
    assert "loaded: []" in answer.err
