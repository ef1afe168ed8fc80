"""Which of the planted copies a release of the pictures marks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from flows.demo.scene_folder import Scenes
from schemas.spec import SpaceSpec

PLANTED_COPIES = ("exact-copy", "resized-copy")


def copies_found(scenes: Scenes, spec: SpaceSpec) -> Mapping[str, tuple[int, int]]:
    """Kind of copy → (how many are marked with their original as one picture, of how many).

    Either of the two may be the one that is kept, or both point to a third that looks the same.
    """
    from tasks.query.releases import find_release
    from tasks.table.dataset import TableRef, open_version

    dataset = open_version(TableRef.of(spec), find_release(spec).version)
    rows = dataset.to_table(columns=["id", "key", "duplicate_of"]).to_pylist()
    kept = {row["key"]: row["duplicate_of"] or row["id"] for row in rows}
    found: Counter[str] = Counter()
    for kind in PLANTED_COPIES:
        found[kind] = sum(kept[t.file] == kept[t.copy_of] for t in scenes.planted(kind))
    return {kind: (found[kind], len(scenes.planted(kind))) for kind in PLANTED_COPIES}
