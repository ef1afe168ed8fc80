"""What the specs of tests about other things leave out."""

from __future__ import annotations

from typing import Any

PLAIN: dict[str, Any] = {"dedupe": {"near": None, "semantic": None}, "cluster": None}
"""No near or semantic duplicates and no clusters: nothing to fit and nothing to compile."""
