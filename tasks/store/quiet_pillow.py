"""Pillow kept off stderr and out of the logs: what it warns of decodes anyway or is a reject."""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import warnings
from pathlib import Path

import PIL


class _Quiet:
    """Keeps Pillow's warnings off stderr while any thread decodes, and takes its filter back.

    What Pillow warns of either decodes anyway or ends in a reject. `catch_warnings` swaps the whole
    list of filters and is not thread-safe; this adds one entry and removes that same entry.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters: list = []
        self._entry: tuple = ()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self._filters = warnings.filters  # type: ignore[assignment]
                self._entry = warnings.filters[0]

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                # Someone's catch_warnings may have swapped the list: clean the old and the new.
                for filters in (self._filters, warnings.filters):
                    if self._entry in filters:
                        filters.remove(self._entry)  # type: ignore[attr-defined]


QUIET = _Quiet()
"""Entered around every decoding."""


def _silence_libtiff() -> None:
    """Tell the libtiff inside Pillow's wheel not to print its errors: Pillow raises them as well.

    libtiff writes straight to file descriptor 2, which no Python setting reaches. Where Pillow uses
    a libtiff of the system, the messages stay.
    """
    home = Path(PIL.__file__).parent
    folders = (home.parent / "pillow.libs", home / ".dylibs")
    for library in (file for folder in folders for file in folder.glob("libtiff[.-]*")):
        ctypes.CDLL(os.fspath(library)).TIFFSetErrorHandler(None)


_silence_libtiff()
# Pillow logs some errors and raises them too; without a handler Python would print the log.
logging.getLogger("PIL").addHandler(logging.NullHandler())
