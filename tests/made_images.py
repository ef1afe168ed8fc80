"""Image files in memory and on disk, and the reading of a folder of them, for the tests."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from schemas.spec import SpaceSpec
from tasks.ingest.read_part import read_part
from tasks.ingest.survey import survey
from tasks.store.workdir import Store


def made_image(
    colour: str = "red", kind: str = "PNG", size: tuple[int, int] = (40, 30), **options: object
) -> bytes:
    """A one-coloured image file."""
    out = BytesIO()
    Image.new("RGB", size, colour).save(out, kind, **options)
    return out.getvalue()


def made_tar(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    """A tar of those members, in that order; a `TarInfo` is added as it is."""
    with tarfile.open(path, "w") as archive:
        for name, member in members.items():
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(member)
                archive.addfile(info, io.BytesIO(member))
    return path


LIMITED = """
import json, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
sys.path[:0] = sys.argv[3:]
from made_images import ingested
found = ingested(Path(sys.argv[1]), Path(sys.argv[2]))
print(json.dumps([found.files, found.keys, found.reasons]))
"""


def ingested_under_limit(folder: Path, workdir: Path) -> tuple[int, list[str], dict[str, str]]:
    """Files, keys of the records and reason by key of the rejects, in 3 GB of address space.

    The process must end well and have nothing to say on stderr.
    """
    tests = Path(__file__).parent
    command = [sys.executable, "-c", LIMITED, str(folder), str(workdir)]
    done = subprocess.run(
        [*command, str(tests), str(tests.parent)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    files, keys, reasons = json.loads(done.stdout)
    return files, keys, reasons


@dataclass(frozen=True)
class Ingested:
    """What ingest made of a source: rows of the records and rejects files, in order."""

    files: int
    records: list[dict]
    rejects: list[dict]

    @property
    def reasons(self) -> dict[str, str]:
        """Key → reason of each reject."""
        return {reject["key"]: reject["reason"] for reject in self.rejects}

    @property
    def keys(self) -> list[str]:
        """The keys of the records, in order."""
        return [record["key"] for record in self.records]


def ingested(path: Path, workdir: Path, thumbnails: bool = True, **source: object) -> Ingested:
    """Survey and read one image source, as a build does."""
    spec = SpaceSpec.model_validate(
        {
            "space": "pictures",
            "uri": str(workdir / "db"),
            "sources": [{"name": "photos", "kind": "image", "path": str(path), **source}],
            "embedder": {"kind": "timm", "model": "none"},
            "publish": {"thumbnails": thumbnails},
        }
    )
    store = Store(str(workdir))
    listing = survey(spec).listings[0]
    parts = [read_part(part, store) for part in listing.parts]
    records = [row for part in parts for row in pq.read_table(part.path).to_pylist()]
    rejects = [row for part in parts for row in pq.read_table(part.rejects.path).to_pylist()]
    return Ingested(listing.files, records, rejects)
