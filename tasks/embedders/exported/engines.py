"""The engines beside torch: their packages, and how they are imported.

Both packages send usage data when they are imported, without asking: OpenVINO from its Python
package, ONNX Runtime (1.29 and newer) from native code that reads one environment variable when it
starts. So they are imported here and nowhere else, after that is switched off.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from schemas.errors import MissingExtraError


@dataclass(frozen=True)
class Engine:
    """One engine: `extra` is vecmill's extra that installs it, `exporters` write its files."""

    name: str
    package: str
    extra: str
    exporters: tuple[str, ...]
    silence: Callable[[], None]

    @property
    def installed(self) -> bool:
        """Whether it can be used here at all."""
        return _version(self.package) is not None

    @property
    def version(self) -> str:
        """The installed version; `MissingExtraError` when there is none."""
        found = _version(self.package)
        if found is None:
            raise MissingExtraError(self.package, self.extra, f"embedder.engine: {self.name}")
        return found

    def module(self) -> ModuleType:
        """The engine's package, imported without its telemetry."""
        _ = self.version
        self.silence()
        return import_module(self.package)

    def require_exporters(self) -> None:
        """Raise `MissingExtraError` when a package that writes its files is not installed."""
        for package in self.exporters:
            if _version(package) is None:
                raise MissingExtraError(package, self.extra, f"exporting a model for {self.name}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _without_openvino_telemetry() -> None:
    """Let OpenVINO find no telemetry package: it then uses its own empty stand-in.

    Its package asks for no consent when it is used from Python: without a file that says no it
    sends an event on each import and each conversion. An import of `None` is Python's own way to
    say that a module is not to be had.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]


def _without_onnxruntime_telemetry() -> None:
    """Set the variable with which ONNX Runtime starts no uploader and keeps no device id.

    Its function `disable_telemetry_events` comes too late: one event is sent at import.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


ENGINES: dict[str, Engine] = {
    "openvino": Engine(
        name="openvino",
        package="openvino",
        extra="openvino",
        exporters=(),
        silence=_without_openvino_telemetry,
    ),
    "onnx": Engine(
        name="onnx",
        package="onnxruntime",
        extra="onnx",
        exporters=("onnx",),
        silence=_without_onnxruntime_telemetry,
    ),
}
"""Name in the spec → engine."""
