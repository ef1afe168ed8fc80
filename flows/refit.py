"""What a refit tells besides its manifest: the release, the fits, and how many rows moved."""

from __future__ import annotations

from typing import Any

from flows.outcome import Outcome


def refit_document(outcome: Outcome) -> dict[str, Any]:
    """What `maintain --refit` adds to its JSON document."""
    manifest = outcome.manifest
    verdict = next((audit for audit in manifest.audits if audit.name == "refit"), None)
    return {
        "release": manifest.release,
        "published": manifest.published,
        "fit_id": manifest.fit_id,
        "kept_share": None if verdict is None else verdict.value,
        "detail": outcome.message if verdict is None else verdict.detail,
    }
