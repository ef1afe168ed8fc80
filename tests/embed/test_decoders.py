"""Pictures prepared in child processes are those that threads prepare, and fail for the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
from PIL import Image

from schemas.identity import digest_bytes
from schemas.reasons import Reason
from tasks.embed import decoders as module
from tasks.embed.decoders import DecoderProcesses, decoders, prepared_here
from tasks.embed.picture_batches import PictureBatch, picture_batches
from tasks.embed.prepare_picture import Picture
from tasks.embedders.image_transform import ImageTransform
from tasks.processes.pool import ProcessDiedError
from tasks.store import pictures as store_pictures
from tasks.store.pictures import open_pixels

TRANSFORM = ImageTransform(
    "shortest", (40, 40), "bicubic", (32, 32), (0, 0, 0), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
)


def prepare_bytes(content: bytes) -> np.ndarray:
    return TRANSFORM.of_pixels(open_pixels(content))


def jpeg(number: int, side: int = 90) -> bytes:
    draw = np.random.default_rng(number)
    noise = draw.integers(0, 256, (side, side + number, 3), np.uint8)
    out = BytesIO()
    Image.fromarray(noise).save(out, "JPEG")
    return out.getvalue()


def planned(content: bytes, uri: str = "a.jpg", kept: bool = False) -> Picture:
    return Picture(content, digest_bytes(content), uri, kept)


@pytest.fixture(scope="module")
def processes() -> Iterator[DecoderProcesses]:
    made = DecoderProcesses(2)
    made.wait()
    yield made
    made.close()


def assert_same(ours: list[Any], theirs: list[Any]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert type(one) is type(other)
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other


@pytest.fixture
def mixed(picture: Callable[..., bytes]) -> list[Picture]:
    """Good ones of several kinds among a cut one, no picture, a bomb, a changed and a kept one."""
    good = [planned(jpeg(i), f"{i}.jpg") for i in range(6)]
    bomb = bytearray(picture("red"))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    return [
        *good[:3],
        planned(jpeg(7)[:900], "cut.jpg"),
        planned(b"nothing at all", "not.jpg"),
        planned(bytes(bomb), "bomb.png"),
        planned(picture("#102030", 50), "good.png"),
        planned(picture("#102030", 4), "tiny.png"),
        Picture(jpeg(1), digest_bytes(b"other"), "changed.jpg", False),
        Picture(b"", digest_bytes(b"other"), "gone.jpg", True),
        *good[3:],
    ]


def test_processes_give_the_pixels_and_the_reasons_of_threads(
    processes: DecoderProcesses, mixed: list[Picture]
) -> None:
    theirs = prepared_here(prepare_bytes, mixed)
    assert sum(isinstance(one, np.ndarray) for one in theirs) == 7
    assert {one[0] for one in theirs if not isinstance(one, np.ndarray)} == {
        Reason.SOURCE_CHANGED,
        Reason.EMBED_FAILED,
    }
    assert_same(processes.prepare(TRANSFORM, _not_here, mixed), theirs)
    hostile = mixed[3:6]
    assert_same(processes.prepare(TRANSFORM, _not_here, hostile), theirs[3:6])


def _not_here(content: bytes) -> np.ndarray:
    raise AssertionError("prepared by a thread")


def test_a_large_picture_is_left_to_this_process(processes: DecoderProcesses) -> None:
    """Processes know nothing of each other's turns."""
    out = BytesIO()
    Image.new("RGB", (5_000, 3_500), "#204060").save(out, "PNG")
    assert store_pictures.LARGE_PIXELS < 5_000 * 3_500
    seen: list[int] = []

    def here(content: bytes) -> np.ndarray:
        seen.append(len(content))
        return prepare_bytes(content)

    pictures = [planned(jpeg(1)), planned(out.getvalue(), "large.png"), planned(jpeg(2))]
    ours = processes.prepare(TRANSFORM, here, pictures)
    assert seen == [len(out.getvalue())]
    assert_same(ours, prepared_here(prepare_bytes, pictures))


def test_a_process_that_is_killed_has_its_pictures_prepared_by_another(
    processes: DecoderProcesses,
) -> None:
    pictures = [planned(jpeg(i)) for i in range(8)]
    for pid in processes.pool.pids:
        os.kill(pid, signal.SIGKILL)
    ours = processes.prepare(TRANSFORM, _not_here, pictures)
    assert_same(ours, prepared_here(prepare_bytes, pictures))


class Deadly(ImageTransform):
    """Ends the process that prepares a picture of 90 × 93 pixels."""

    def of_pixels(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.shape[:2] == (90, 93):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().of_pixels(pixels)


@pytest.mark.slow  # six processes end, and others start
def test_a_picture_that_ends_every_process_is_named(processes: DecoderProcesses) -> None:
    deadly = Deadly(**vars(TRANSFORM))
    pictures = [planned(jpeg(i), f"{i}.jpg") for i in range(5)]
    with pytest.raises(ProcessDiedError, match=r"^3\.jpg ended 3 decoder processes"):
        processes.prepare(deadly, _not_here, pictures)
    made = processes.prepare(TRANSFORM, _not_here, pictures)
    assert_same(made, prepared_here(prepare_bytes, pictures))


class Greedy(ImageTransform):
    """No memory, whatever the picture."""

    def of_pixels(self, pixels: np.ndarray) -> np.ndarray:
        raise MemoryError("no more")


def test_running_out_of_memory_is_no_pictures_fault(processes: DecoderProcesses) -> None:
    with pytest.raises(MemoryError, match="no more"):
        processes.prepare(Greedy(**vars(TRANSFORM)), _not_here, [planned(jpeg(1))])


def test_threads_decode_until_the_processes_have_started() -> None:
    made = DecoderProcesses(2)
    try:
        pictures = [planned(jpeg(i)) for i in range(3)]
        ours = made.prepare(Greedy(**vars(TRANSFORM)), prepare_bytes, pictures)
        assert_same(ours, prepared_here(prepare_bytes, pictures))
        made.wait()
        with pytest.raises(MemoryError):
            made.prepare(Greedy(**vars(TRANSFORM)), prepare_bytes, pictures)
    finally:
        made.close()


@pytest.fixture
def apart(fake: Any, processes: DecoderProcesses, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The fake embedder as one on a GPU is: 2 processes decode for it."""
    monkeypatch.setattr(fake, "prepare_bytes", _not_here)
    fake.decodes_apart, fake.in_flight, fake.image_batch = TRANSFORM, 3, 7
    monkeypatch.setattr(module, "FEWEST", 10)
    monkeypatch.setattr(module, "process_count", lambda: 2)
    monkeypatch.setattr(module, "_shared", {0: processes})
    return fake


def written(pictures: list[Picture], folder: Path) -> pa.Table:
    for number, picture in enumerate(pictures):
        (folder / f"{number:03}").write_bytes(picture.content)
    uris = [str(folder / f"{number:03}") for number in range(len(pictures))]
    hashes = pa.array([picture.expected for picture in pictures], pa.binary(16))
    nothing = pa.nulls(len(pictures), pa.string())
    return pa.table({"content_hash": hashes, "uri": uris, "locator": nothing})


def assert_same_batches(ours: list[PictureBatch], theirs: list[PictureBatch]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)
        assert one.failures == other.failures
        if other.pixels is None:
            assert one.pixels is None
            continue
        np.testing.assert_array_equal(one.pixels, other.pixels)
        assert one.pixels is not None
        assert one.pixels.strides == other.pixels.strides  # channels side by side


def test_batches_from_processes_are_those_from_threads(
    apart: Any, mixed: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = (mixed + [planned(jpeg(i)) for i in range(20, 33)]) * 2
    table, rows = written(pictures, tmp_path), np.arange(500, 500 + len(pictures))
    ours = list(picture_batches(table, rows, apart, {}))
    monkeypatch.setattr(apart, "decodes_apart", None)
    monkeypatch.setattr(apart, "prepare_bytes", prepare_bytes)
    assert_same_batches(ours, list(picture_batches(table, rows, apart, {})))
    assert sum(len(batch.failures) for batch in ours) == 12


def test_processes_that_are_killed_between_batches_change_nothing(
    apart: Any, processes: DecoderProcesses, tmp_path: Path
) -> None:
    pictures = [planned(jpeg(i)) for i in range(60)]
    table = written(pictures, tmp_path)
    found = []
    for number, batch in enumerate(picture_batches(table, np.arange(60), apart, {})):
        found.append(batch)
        if number == 2:
            for pid in processes.pool.pids:
                os.kill(pid, signal.SIGKILL)
    pixels = np.concatenate([batch.pixels for batch in found if batch.pixels is not None])
    expected = np.stack([prepare_bytes(picture.content) for picture in pictures])
    np.testing.assert_array_equal(pixels, expected)


def test_batches_that_are_wanted_no_more_are_let_go(apart: Any, tmp_path: Path) -> None:
    table = written([planned(jpeg(i)) for i in range(60)], tmp_path)
    batches = picture_batches(table, np.arange(60), apart, {})
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert len(list(picture_batches(table, np.arange(60), apart, {}))) == 9


def test_threads_stay_where_nobody_would_wait(apart: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (decoders(apart, 10).threads, decoders(apart, 10).group) == (2, module.GROUP)
    assert decoders(apart, 9).group == module.GROUP, "they have started"
    monkeypatch.setattr(module, "_shared", {})
    assert decoders(apart, 9).group == 1
    monkeypatch.setattr(module, "process_count", lambda: 1)
    assert decoders(apart, 10).group == 1
    monkeypatch.setattr(module, "process_count", lambda: 2)
    monkeypatch.setattr(apart, "decodes_apart", None)
    assert decoders(apart, 10).group == 1
    assert not module._shared


def test_processes_are_as_many_as_the_cores_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)), raising=False)
    monkeypatch.setattr("tasks.processes.cores.CGROUP_QUOTA", Path("nowhere"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # says nothing of processes
    assert module.process_count() == 14
    monkeypatch.setenv("VECMILL_CORES", "8")
    assert module.process_count() == 6
    monkeypatch.setenv("VECMILL_CORES", "64")
    assert module.process_count() == 14


def test_a_containers_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)), raising=False)
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr("tasks.processes.cores.CGROUP_QUOTA", quota)
    quota.write_text("450000 100000\n")
    assert module.process_count() == 3
    quota.write_text("max 100000\n")
    assert module.process_count() == 14


def test_models_on_an_accelerator_alone_want_processes(
    tiny_timm_images: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tiny_timm_images("cpu").decodes_apart is None
    assert isinstance(tiny_timm_images("meta").decodes_apart, ImageTransform)
    monkeypatch.setattr("tasks.embedders.torch_images.read_transform", lambda _transform: None)
    assert tiny_timm_images("meta").decodes_apart is None


@pytest.fixture
def tiny_timm_images(ref: Any) -> Callable[[str], Any]:
    """The image side of a model on a device, with a transform of torchvision's."""
    import torch
    from torchvision import transforms

    from tasks.embedders.torch_images import TorchImages

    steps = [
        transforms.Resize(40, transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(32),
        transforms.ToTensor(),
        transforms.Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    ]

    def images(where: str) -> TorchImages:
        model = torch.nn.Flatten()
        transform: Any = transforms.Compose(steps)
        return TorchImages(ref, model, model, transform, torch.device(where), torch.float32)

    return images


ENDS = """
import sys
from tasks.embed.decoders import decoder_processes
made = decoder_processes(2)
if sys.argv[1] == "wait":
    made.wait()
    print(made.pool.call(eval, "__import__('torch').get_num_threads()"))
    print(made.pool.call(eval, "__import__('torch').cuda.is_initialized()"))
print(*made.pool.pids)
"""


@pytest.mark.parametrize("wait", ["wait", "at once"])
def test_a_command_that_used_them_ends_and_ends_them(wait: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDS, wait], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    *told, pids = done.stdout.splitlines()
    assert told == (["1", "False"] if wait == "wait" else [])
    assert not any(psutil.pid_exists(int(pid)) for pid in pids.split())
