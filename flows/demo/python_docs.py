"""The docstrings of the installed packages, read from their source with `ast`, never imported.

    packages → files, those that define most of what the package exports first
      → docstrings, of exported names first → an even choice of each package

What is taken depends on nothing but the installed files: the same environment gives the same
records. `planted_faults` adds lines that cannot be used, and says that they are planted.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice, zip_longest
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

SHARES = {STDLIB: 8}
"""The standard library is many packages: it may give so many times the share of one."""

STDLIB_MODULES = frozenset(
    {
        *("abc", "argparse", "ast", "asyncio", "base64", "bdb", "bisect", "bz2"),
        *("calendar", "cmd", "code", "codecs", "collections", "concurrent", "configparser"),
        *("contextlib", "copy", "csv", "dataclasses", "datetime", "decimal", "difflib"),
        *("dis", "email", "enum", "filecmp", "fileinput", "fnmatch", "fractions", "ftplib"),
        *("functools", "getpass", "gettext", "glob", "graphlib", "gzip", "hashlib"),
        *("heapq", "hmac", "html", "http", "imaplib", "imghdr", "inspect", "io"),
        *("ipaddress", "json", "keyword", "linecache", "locale", "logging", "lzma"),
        *("mailbox", "mimetypes", "multiprocessing", "numbers", "operator", "os"),
        *("pathlib", "pdb", "pickle", "pkgutil", "platform", "plistlib", "poplib"),
        *("posixpath", "pprint", "profile", "pstats", "queue", "random", "re", "reprlib"),
        *("sched", "secrets", "selectors", "shelve", "shlex", "shutil", "signal"),
        *("smtplib", "socket", "socketserver", "sqlite3", "ssl", "statistics", "string"),
        *("subprocess", "tarfile", "tempfile", "textwrap", "threading", "timeit", "token"),
        *("tokenize", "tomllib", "trace", "traceback", "tracemalloc", "types", "typing"),
        *("unittest", "urllib", "uuid", "venv", "warnings", "wave", "weakref"),
        *("webbrowser", "xml", "xmlrpc", "zipfile", "zoneinfo"),
    }
)
"""The modules of the standard library that people import."""

RECORDS = 5_200
"""Enough for a real search, few enough for about a minute of embedding on two cores."""

HELD_BACK = 200
"""Real records kept aside: what a later change adds."""

LENGTHS = (60, 800)
"""Characters: a shorter docstring says little; of a longer one the first paragraphs are taken."""

REPEATED = 90
"""Characters: a shorter text that a package repeats is boilerplate; a longer one stays."""

FILES_READ = 40
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
    """The package's docstrings: those of the names that it exports, then the others.

    Both in rounds: the first of each file, then the second of each, and so on.
    """
    files = source_files(package)
    exported = exported_names(files)
    chosen = sorted(files, key=lambda file: _rank(file, exported))
    chosen = chosen[: FILES_READ * SHARES.get(package, 1)]
    docs = [list(read_module(file.path, package, file.module)) for file in chosen]
    seen: set[str] = set()
    for wanted in (True, False):
        queues = [[d for d in part if (_root(d) in exported) is wanted] for part in docs]
        for doc in chain.from_iterable(zip_longest(*queues)):
            if doc is not None and (doc.text not in seen or len(doc.text) > REPEATED):
                seen.add(doc.text)
                yield doc


@dataclass(frozen=True)
class SourceFile:
    """A Python file of a package."""

    path: Path
    module: str
    depth: int  # folders below the package


def source_files(package: str) -> list[SourceFile]:
    """The package's Python files by module name; `[]` for a package that is not installed."""
    if package == STDLIB:
        root, prefix = Path(sysconfig.get_path("stdlib")), ""
    else:
        spec = importlib.util.find_spec(package)  # of a top-level name: finds, does not import
        if spec is None or not spec.submodule_search_locations:
            return []
        root, prefix = Path(next(iter(spec.submodule_search_locations))), package
    files = []
    for path in _python_files(root, STDLIB_MODULES if package == STDLIB else None):
        parts = path.relative_to(root).with_suffix("").parts
        module = ".".join([*([prefix] if prefix else []), *(p for p in parts if p != "__init__")])
        files.append(SourceFile(path, module, len(parts) - 1))
    return sorted(files, key=lambda file: file.module)


def _python_files(root: Path, top: frozenset[str] | None) -> Iterator[Path]:
    """The Python files below `root` that are worth reading, perhaps of some modules alone."""
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        odd = any(part.startswith(("test_", "__main")) for part in parts)
        if odd or LEFT_OUT.intersection(parts) or (top is not None and parts[0] not in top):
            continue
        if path.stat().st_size <= LARGEST:
            yield path


def exported_names(files: Sequence[SourceFile]) -> frozenset[str]:
    """What the `__init__` of the package and of its subpackages import, or name in `__all__`."""
    names: set[str] = set()
    for file in files:
        if file.path.name == "__init__.py" and file.depth <= 1 and (tree := _parse(file.path)):
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom):
                    names.update(alias.asname or alias.name for alias in node.names)
                elif isinstance(node, ast.Assign) and _is_all(node):
                    constants = (c for c in ast.walk(node.value) if isinstance(c, ast.Constant))
                    names.update(c.value for c in constants if isinstance(c.value, str))
    return frozenset(name for name in names if not name.startswith("_"))


def _is_all(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)


_DEFINED = re.compile(rb"^(?:async def|def|class) ([A-Za-z]\w*)", re.MULTILINE)


def _rank(file: SourceFile, exported: frozenset[str]) -> tuple[int, int, str]:
    """The more exported names a file defines the better, then the less deep and private it is."""
    defined = {name.decode() for name in _DEFINED.findall(file.path.read_bytes())}
    module = file.module
    return -len(defined & exported), module.count(".") + module.count("._"), module


def _root(doc: Doc) -> str:
    """The name that the module defines; methods belong to their class and count as others."""
    return doc.name.removeprefix(f"{doc.module}.")


def read_module(path: Path, package: str, module: str) -> Iterator[Doc]:
    """The useful docstrings of one source file, in its order.

    A file that this Python cannot parse (a template, another version's syntax) has none.
    """
    tree = _parse(path)
    if tree is None:
        return
    counts: dict[str, int] = {}
    for node, qualname, kind in chain([(tree, "", "module")], _public_nodes(tree)):
        text = _beginning(inspect.cleandoc(ast.get_docstring(node, clean=False) or "").strip())
        if len(text) < LENGTHS[0] or _unencodable(text):
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


def _parse(path: Path) -> ast.Module | None:
    try:
        with warnings.catch_warnings(action="ignore"):  # other people's odd escapes
            return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return None


def _beginning(text: str) -> str:
    """The first paragraphs of `text`, as many as fit; `""` where not even the first does."""
    if len(text) <= LENGTHS[1]:
        return text
    end = text.rfind("\n\n", 0, LENGTHS[1])
    return text[: max(end, 0)].rstrip()


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
