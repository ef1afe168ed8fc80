"""The tiny models of each kind, on each engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.refs import EmbedderRef
from schemas.spec import EmbedderSpec
from tasks.embedders.resolve import resolve

RefOf = Callable[..., EmbedderRef]


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of exports for the whole session: each tiny model is exported once an engine."""
    return tmp_path_factory.mktemp("exports")


@pytest.fixture
def ref_of(exports: Path) -> RefOf:
    """A reference for a model's folder, on an engine, exported to the session's folder."""

    def ref_of(
        kind: str,
        folder: Path | str,
        engine: str = "openvino",
        precision: str = "fp32",
        exports: Path = exports,
        **options: Any,
    ) -> EmbedderRef:
        plain = resolve(EmbedderSpec(kind=kind, model=str(folder), **options), ())
        return replace(plain, engine=engine, precision=precision, exports=str(exports))

    return ref_of
