"""The docstrings of the installed packages, read from their source with `ast`, never imported.

    packages → modules (the most public first) → docstrings → an even choice of each

What is taken depends on nothing but the installed files: the same environment gives the same
records. `planted_faults` adds lines that cannot be used, and says that they are planted.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path

STDLIB = "stdlib"

PACKAGES = (
    *(STDLIB, "numpy", "pandas", "polars", "pyarrow", "lancedb", "lance", "prefect"),
    *("sklearn", "scipy", "torch", "torchvision", "transformers", "tokenizers", "timm"),
    *("sentence_transformers", "open_clip", "great_expectations", "pydantic", "fastapi"),
    *("starlette", "sqlalchemy", "httpx", "requests", "urllib3", "rich", "typer", "click"),
    *("jinja2", "fsspec", "PIL", "networkx", "bs4", "anyio", "websockets", "cryptography"),
    *("packaging", "huggingface_hub", "safetensors", "pendulum", "joblib", "attr"),
)
"""The well-known ones among what vecmill itself installs; one that is absent is left out."""

SHARES = {STDLIB: 6}
"""The standard library is many packages: it may give so many times the share of one."""

RECORDS = 5_400
"""Enough for a real search, few enough for about a minute of embedding on two cores."""

HELD_BACK = 200
"""Real records kept aside: what a later change adds."""

LENGTHS = (60, 1_000)
"""Characters of a docstring that says something and is not a manual."""

REPEATED = 90
"""Characters: a shorter text that a package repeats is boilerplate; a longer one stays."""

FILES_READ = 45
"""Source files parsed of one package (times its share): torch alone has 2,400."""

LARGEST = 400_000
"""Bytes of a source file: larger ones are generated tables."""

LEFT_OUT = frozenset(
    {
        *("test", "tests", "testing", "conftest", "benchmarks", "_vendor", "vendor", "externals"),
        *("idlelib", "lib2to3", "turtledemo", "ensurepip", "site-packages", "__pycache__"),
        *("_internal", "_pyrepl", "distutils", "pydoc_data", "__phello__", "antigravity"),
    }
)
"""Folders and modules whose docstrings help nobody."""


@dataclass(frozen=True)
class Doc:
    """One docstring and where it stands: the columns of the jsonl files."""

    key: str  # module:qualified name, unique
    package: str
    module: str
    name: str
    kind: str  # module | class | function | method
    signature: str | None
    text: str


def collect_docs(records: int = RECORDS, packages: Sequence[str] = PACKAGES) -> list[Doc]:
    """At most `records` docstrings, taken in turn from all `packages`; every key once."""
    queues = {name: iter(read_package(name)) for name in packages}
    found: list[Doc] = []
    while queues and len(found) < records:
        for name in list(queues):
            took = list(islice(queues[name], SHARES.get(name, 1)))
            found += took
            if not took:
                del queues[name]
    return found[:records]


def read_package(package: str) -> Iterator[Doc]:
    """The package's docstrings: the first of each module, then the second of each, and so on."""
    files = source_files(package)[: FILES_READ * SHARES.get(package, 1)]
    queues = [iter(read_module(path, package, module)) for path, module in files]
    seen: set[str] = set()
    while queues:
        left = []
        for queue in queues:
            doc = next(queue, None)
            if doc is None:
                continue
            left.append(queue)
            if doc.text not in seen or len(doc.text) > REPEATED:
                seen.add(doc.text)
                yield doc
        queues = left


def source_files(package: str) -> list[tuple[Path, str]]:
    """The package's Python files and their module names, the most public ones first."""
    if package == STDLIB:
        root, prefix = Path(sysconfig.get_path("stdlib")), ""
    else:
        spec = importlib.util.find_spec(package)  # of a top-level name: finds, does not import
        if spec is None or not spec.submodule_search_locations:
            return []
        root, prefix = Path(next(iter(spec.submodule_search_locations))), package
    files = []
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        if LEFT_OUT.intersection(parts) or any(p.startswith(("test_", "__main")) for p in parts):
            continue
        module = ".".join([*([prefix] if prefix else []), *(p for p in parts if p != "__init__")])
        if module and path.stat().st_size <= LARGEST:
            files.append((path, module))
    if package == STDLIB:
        files = [file for file in files if not file[1].startswith("_")]
    return sorted(files, key=_remoteness)


def _remoteness(file: tuple[Path, str]) -> tuple[int, str]:
    """How far a module is from what people import: its depth, and each private name in it."""
    return file[1].count(".") + file[1].count("._"), file[1]


def read_module(path: Path, package: str, module: str) -> Iterator[Doc]:
    """The useful docstrings of one source file, in its order.

    A file that this Python cannot parse (a template, another version's syntax) has none.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # other people's odd escapes
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    counts: dict[str, int] = {}
    for node, qualname, kind in chain([(tree, "", "module")], _public_nodes(tree)):
        text = inspect.cleandoc(ast.get_docstring(node, clean=False) or "").strip()
        if not LENGTHS[0] <= len(text) <= LENGTHS[1] or _unencodable(text):
            continue
        # A name can be defined twice (overloads, if/else): the second is name~2.
        counts[qualname] = counts.get(qualname, 0) + 1
        again = f"~{counts[qualname]}" if counts[qualname] > 1 else ""
        yield Doc(
            key=f"{module}:{qualname}{again}" if qualname else module,
            package=package,
            module=module,
            name=f"{module}.{qualname}" if qualname else module,
            kind=kind,
            signature=_signature(node),
            text=text,
        )


def _unencodable(text: str) -> bool:
    """Whether escapes in the docstring left half a surrogate pair (or a NUL) behind."""
    return "\x00" in text or text.encode("utf-8", "ignore").decode() != text


Block = ast.Module | ast.ClassDef | ast.If | ast.Try
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _public_nodes(
    parent: Block, prefix: str = "", in_class: bool = False
) -> Iterator[tuple[Documented, str, str]]:
    """Public classes, functions and methods below `parent`, in source order, and their names."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.If | ast.Try):
            yield from _public_nodes(node, prefix, in_class)
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node, prefix + node.name, "class"
            yield from _public_nodes(node, f"{prefix}{node.name}.", True)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith(
            "_"
        ):
            yield node, prefix + node.name, "method" if in_class else "function"


def _signature(node: Documented) -> str | None:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    return f"({ast.unparse(node.args)})"


def planted_faults(real: Doc) -> list[bytes]:
    """Lines that cannot be used, one for each way a line goes wrong; `real` is a record's key.

    Each says in its key or text that it is planted.
    """
    fields = {**asdict(real), "package": "planted", "module": "planted", "name": "planted"}

    def line(**changed: object) -> bytes:
        return json.dumps({**fields, **changed}).encode()

    without_key = {name: value for name, value in fields.items() if name != "key"}
    return [
        line(key="planted:empty", text=""),
        line(key="planted:blank", text=" \n\t "),
        line(key="planted:nul", text="A NUL byte \x00 was planted in this text."),
        line(key="planted:surrogate", text="Half a surrogate pair was planted: \ud83d"),
        line(key=real.key, text="A second record with the key of a real one, planted."),
        line(key=None, text="A record without a key, planted."),
        json.dumps(
            {**without_key, "text": "A record that lacks its key column, planted."}
        ).encode(),
        line(key="planted:latin-1", text="@").replace(b'"@"', '"café, planted"'.encode("latin-1")),
        b'{"key": "planted:cut", "text": "A line that ends too early, plan',
    ]
