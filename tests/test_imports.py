"""The one rule of imports: schemas ← tasks ← flows ← deployments, and what may be loaded where.

The walker reads every import of the four packages, at whatever depth it stands, and names the
offending line. That it finds an offence is tested on small trees below.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

PACKAGES = ("schemas", "tasks", "flows", "deployments")
"""In the order of the rule: each may import itself and what stands before it."""

STAGES = {"ingest", "validate", "dedupe", "chunk", "plan", "embed", "cluster", "audit", "publish"}
ROOMS = {"embedders", "geometry", "table", "store", "processes"}
"""What stages share; a room imports no stage."""

ONLY_IN = {
    "great_expectations": "tasks/validate/",
    "pandas": "tasks/validate/",
}
"""Libraries at one edge."""

NOWHERE = {"pickle", "cloudpickle", "dill", "joblib"}
"""What runs the code that it reads."""

LATE = {
    *("torch", "torchvision", "sentence_transformers", "open_clip", "timm", "transformers"),
    *("great_expectations", "pandas", "lance", "lancedb"),
    *("openvino", "onnxruntime", "onnx"),
    *("faiss", "numba", "sklearn", "scipy", "umap"),
}
"""Seconds each to load: imported inside functions, so that a command loads what it needs."""

HEAVY = {
    "tasks/dedupe/texts/buckets.py",
    "tasks/dedupe/texts/compared_pairs.py",
    "tasks/dedupe/texts/judged_texts.py",
    "tasks/dedupe/texts/documents.py",
    "tasks/dedupe/texts/jaccard.py",
    "tasks/dedupe/pictures/judged_pictures.py",
    "tasks/dedupe/keep_first.py",
    "tasks/dedupe/pictures/keep_pictures.py",
    "tasks/dedupe/texts/minhash.py",
    "tasks/dedupe/pictures/near_images.py",
    "tasks/dedupe/texts/near_text.py",
    "tasks/dedupe/texts/resemble.py",
    "tasks/dedupe/pictures/same_picture.py",
    "tasks/dedupe/texts/signatures.py",
    "tasks/dedupe/texts/text_arrays.py",
    "tasks/dedupe/ones.py",
    "tasks/dedupe/vectors/judge.py",
    "tasks/dedupe/vectors/neighbours.py",
    "tasks/embedders/exported/clip_vocabulary.py",
    "tasks/embedders/exported/library_models.py",
    "tasks/embedders/exported/traced.py",
    "tasks/embedders/open_clip_embedder.py",
    "tasks/embedders/open_clip_text.py",
    "tasks/embedders/packed.py",
    "tasks/embedders/prepacked.py",
    "tasks/embedders/sentence_transformers_embedder.py",
    "tasks/embedders/static_text.py",
    "tasks/embedders/timm_embedder.py",
    "tasks/embedders/torch_device.py",
    "tasks/embedders/torch_images.py",
    "tasks/embedders/torch_lanes.py",
    "tasks/embedders/transformer_text.py",
    "flows/demo/train_clip.py",
}
"""Modules that may load them at the top, since they are themselves imported late."""


@dataclass(frozen=True)
class Import:
    """One imported module, and where: `late` inside a function, `types` for a checker alone."""

    file: str
    line: int
    module: str
    late: bool
    types: bool

    @property
    def top(self) -> str:
        return self.module.split(".")[0]


@functools.cache
def imports_of(root: Path) -> tuple[Import, ...]:
    """Every import of the packages under `root`, read once."""
    return tuple(_read(root))


def _read(root: Path) -> Iterator[Import]:
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            file = path.relative_to(root).as_posix()
            yield from _walk(ast.parse(path.read_text()), file, late=False, types=False)


def _walk(node: ast.AST, file: str, late: bool, types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for module in _modules(child, file):
            yield Import(file, child.lineno, module, late, types)  # type: ignore[attr-defined]
        inside = late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        condition = ast.unparse(child.test) if isinstance(child, ast.If) else ""
        checked = types or "TYPE_CHECKING" in condition
        yield from _walk(child, file, inside, checked)


def _modules(node: ast.AST, file: str) -> list[str]:
    """The modules that a node imports; `from a import b` may mean the module `a.b`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = file.removesuffix(".py").split("/")[: -node.level] if node.level else []
        module = ".".join([*above, *([node.module] if node.module else [])])
        return [f"{module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        return [str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant)]
    return []


def offences(root: Path) -> list[str]:
    """Each import that the rule forbids, as `file:line: what, and why`."""
    return [
        f"{each.file}:{each.line}: imports {each.module}: {why}"
        for each in imports_of(root)
        for why in (_direction(each), _stage(each), _library(each), _weight(each))
        if why
    ]


def _direction(each: Import) -> str | None:
    here = each.file.split("/")[0]
    if each.top in PACKAGES and PACKAGES.index(each.top) > PACKAGES.index(here):
        return f"{here} may not import {each.top}"
    return None


def _stage(each: Import) -> str | None:
    package, room, *_ = [*each.file.split("/"), ""]
    names = each.module.split(".")
    if package != "tasks" or names[0] != "tasks" or len(names) < 2 or names[1] not in STAGES:
        return None
    if room in ROOMS:
        return f"the shared room {room} may not import a stage"
    if room in STAGES and names[1] != room:
        return f"the stage {room} may not import the stage {names[1]}"
    return None


def _library(each: Import) -> str | None:
    if each.top == "prefect" and each.file.startswith(("tasks/", "schemas/")):
        parts = each.file.split("/")
        if len(parts) != 3 or parts[2] != "prefect_tasks.py":
            return "in tasks only tasks/<stage>/prefect_tasks.py may import prefect"
    if each.top in ONLY_IN and not each.file.startswith(ONLY_IN[each.top]):
        return f"only {ONLY_IN[each.top]} may import {each.top}"
    return "it can run what it reads" if each.top in NOWHERE else None


def _weight(each: Import) -> str | None:
    if each.late or each.types or each.file in HEAVY:
        return None
    if each.top in LATE:
        return f"{each.top} takes seconds to load: import it inside the function that needs it"
    for heavy in HEAVY:
        name = heavy.removesuffix(".py").replace("/", ".")
        if each.module == name or each.module.startswith(f"{name}."):
            return f"{name} loads heavy libraries: import it inside the function that needs it"
    return None


# The rule, on this repository


def test_every_import_keeps_the_rule() -> None:
    found = offences(REPOSITORY)
    assert not found, "\n".join(["", *found])


def test_the_walker_sees_this_repository() -> None:
    found = {(each.file, each.top) for each in imports_of(REPOSITORY)}
    assert ("schemas/load.py", "pydantic") in found
    assert {file.split("/")[0] for file, _ in found} >= {"schemas", "tasks", "flows"}
    assert any(file.endswith("/prefect_tasks.py") and top == "prefect" for file, top in found)


def test_every_heavy_module_exists_and_is_heavy() -> None:
    loaded: dict[str, set[str]] = {}
    for each in imports_of(REPOSITORY):
        if not each.late:
            file = f"{each.module.rpartition('.')[0].replace('.', '/')}.py"
            loaded.setdefault(each.file, set()).update({each.top, file})
    weights = LATE | HEAVY  # itself, or through another of them
    assert [file for file in sorted(HEAVY) if not loaded.get(file, set()) & weights] == []


# That the walker finds an offence


OFFENCES = [
    ("schemas/a.py", "from tasks.store import workdir", "schemas may not import tasks"),
    ("schemas/a.py", "import flows", "schemas may not import flows"),
    ("tasks/ingest/a.py", "def f():\n    import flows.cli", "tasks may not import flows"),
    ("tasks/store/a.py", "from deployments import x", "tasks may not import deployments"),
    ("flows/a.py", "import deployments", "flows may not import deployments"),
    ("tasks/chunk/a.py", "from tasks.plan.classify import x", "stage chunk may not import the st"),
    ("tasks/chunk/a.py", "from tasks import plan", "stage chunk may not import the stage plan"),
    ("tasks/chunk/a.py", "from ..plan import x", "stage chunk may not import the stage plan"),
    ("tasks/chunk/a.py", "from .. import plan", "stage chunk may not import the stage plan"),
    ("tasks/chunk/a.py", "import_module('tasks.plan.x')", "stage chunk may not import the stage"),
    ("tasks/table/a.py", "import tasks.publish.x", "the shared room table may not import a stage"),
    ("tasks/embed/a.py", "from prefect import task", "only tasks/<stage>/prefect_tasks.py may im"),
    ("tasks/embed/deep/prefect_tasks.py", "import prefect", "only tasks/<stage>/prefect_tasks.py"),
    ("schemas/prefect_tasks.py", "import prefect", "only tasks/<stage>/prefect_tasks.py may impo"),
    ("tasks/plan/a.py", "def f():\n    import pandas", "only tasks/validate/ may import pandas"),
    ("flows/a.py", "def f():\n    import great_expectations.core", "only tasks/validate/ may imp"),
    ("tasks/validate/a.py", "import pandas", "pandas takes seconds to load: import it inside"),
    ("tasks/table/a.py", "try:\n    import lance\nfinally: pass", "lance takes seconds to load"),
    ("tasks/embed/a.py", "class A:\n    import torch", "torch takes seconds to load: import it"),
    (
        "tasks/embedders/load.py",
        "from tasks.embedders.timm_embedder import X",
        "tasks.embedders.timm_embedder loads heavy libraries",
    ),
    ("tasks/store/a.py", "def f():\n    import pickle", "it can run what it reads"),
]


def planted(root: Path, file: str, source: str) -> list[str]:
    path = root / file
    path.parent.mkdir(parents=True)
    path.write_text(f"'''A module.'''\n{source}\n")
    return offences(root)


@pytest.mark.parametrize(
    ("file", "source", "why"), OFFENCES, ids=[f"{f}-{s.split()[-1]}" for f, s, _ in OFFENCES]
)
def test_a_planted_offence_is_named_with_its_line(
    tmp_path: Path, file: str, source: str, why: str
) -> None:
    lines = source.splitlines()
    line = 2 + next(i for i, text in enumerate(lines) if "import" in text)
    found = planted(tmp_path, file, source)
    assert any(each.startswith(f"{file}:{line}: imports ") and why in each for each in found), found


ALLOWED = [
    ("tasks/ingest/a.py", "from tasks.store.workdir import Store\nfrom schemas import refs"),
    ("tasks/ingest/a.py", "from tasks.ingest.reader import Reader\nfrom .reader import x"),
    ("tasks/embed/prefect_tasks.py", "from prefect import task"),
    (
        "tasks/embed/a.py",
        "def f():\n    import torch\n    from tasks.embedders import timm_embedder",
    ),
    ("tasks/embed/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
    ("tasks/embedders/torch_device.py", "import torch"),
    ("tasks/validate/a.py", "def f():\n    import pandas"),
    ("flows/a.py", "import prefect\nfrom tasks.ingest import survey"),
    ("tasks/ingest/a.py", "import prefecture\nimport torchlight"),
]


ALLOWED_IDS = [f"{file}-{source.split()[-1]}" for file, source in ALLOWED]


@pytest.mark.parametrize(("file", "source"), ALLOWED, ids=ALLOWED_IDS)
def test_what_is_allowed_is_not_named(tmp_path: Path, file: str, source: str) -> None:
    assert planted(tmp_path, file, source) == []
