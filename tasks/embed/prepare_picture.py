"""One picture: is it the one that was planned, and what are its pixels?"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from schemas.identity import digest_bytes
from schemas.reasons import Reason
from tasks.store.pictures import LargePictureError, PictureError

Failure = tuple[Reason, str]

PrepareBytes = Callable[[bytes], np.ndarray]
"""`Embedder.prepare_bytes`."""


class Picture(NamedTuple):
    """A picture as it was read now, and what it was when it was planned."""

    content: bytes
    expected: bytes  # its content hash then
    uri: str
    kept: bool  # one of the published rows that stay without their file


def prepared(picture: Picture, prepare_bytes: PrepareBytes) -> np.ndarray | Failure:
    """The picture's pixels as the model takes them, or why there are none."""
    content, expected, uri, kept = picture
    if digest_bytes(content) != expected:
        return Reason.SOURCE_CHANGED, (
            f"the row was kept of a release, and its picture stands no more in {uri}; its vector "
            f"cannot be computed anew: put the file back, or build with the precision and engine "
            f"that the release has"
            if kept
            else f"{uri} now gives {len(content)} bytes with another hash than when it was read; "
            f"build again, so that it is read anew"
        )
    try:
        return prepare_bytes(content)
    except PictureError as error:
        return Reason.EMBED_FAILED, f"{error.reason}: {error.detail}"
    except (MemoryError, LargePictureError):
        raise
    except Exception as error:  # noqa: BLE001  decoders raise anything for one bad picture
        return Reason.EMBED_FAILED, f"{type(error).__name__}: {error}"
