"""An image file's bytes → an upright RGB picture, or a reason why there is none.

    bytes → format by content → size by header → pixels → RGB → upright

A shared room: ingest decodes to judge a file and to make its thumbnail, embed to embed it, and
both must see the same picture: `open_picture` and `open_pixels` give the same pixels. Everything is
bounded: bytes, pixels, and large pictures one at a time. Pillow's plugin classes are called
directly: only the supported formats are ever tried (no Ghostscript, no helper program), and the
pixel limit is ours instead of Pillow's global one.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import PIL
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from schemas.reasons import Reason
from tasks.store import tensor_decoders
from tasks.store.image_formats import (
    FORMATS,
    claimed_format,
    cut_signature,
    ends_early,
    image_format,
    stranger,
    webp_size,
)
from tasks.store.quiet_pillow import QUIET

MAX_PIXELS = 120_000_000
"""The largest cameras make 102 to 108 megapixels; Pillow holds this many in 480 MB."""

MAX_FILE_BYTES = 256 << 20
"""Above any photograph of `MAX_PIXELS`, uncompressed ones in 16 bit aside."""

MIN_SIDE = 16
"""Shorter sides hold nothing to embed: tracking pixels, spacers, bullets."""

LARGE_PIXELS = 1 << 24
"""Pictures above 16 megapixels (64 MB in RGB) are decoded one at a time."""

THUMBNAIL_SIDE = 128
THUMBNAIL_QUALITY = 80
"""About 4 KB a picture at 128 px; Pillow's own default is 75."""

STRIP_PIXELS = 1 << 20
"""Pixels that are scaled to 8 bit at a time."""

ORIENTATION = 0x0112
"""The EXIF tag; absent, 1 or out of range: upright."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_ARRAY_TURNS: dict[Image.Transpose, Callable[[np.ndarray], np.ndarray]] = {
    Image.Transpose.FLIP_LEFT_RIGHT: lambda pixels: pixels[:, ::-1],
    Image.Transpose.ROTATE_180: lambda pixels: pixels[::-1, ::-1],
    Image.Transpose.FLIP_TOP_BOTTOM: lambda pixels: pixels[::-1],
    Image.Transpose.TRANSPOSE: lambda pixels: pixels.transpose(1, 0, 2),
    Image.Transpose.ROTATE_270: lambda pixels: np.rot90(pixels, -1),
    Image.Transpose.TRANSVERSE: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    Image.Transpose.ROTATE_90: lambda pixels: np.rot90(pixels),
}
"""The same turns for arrays `[h, w, 3]`: views."""

# The base JPEG of an MPO file is its first picture, so JPEG needs no second class.
_OPENERS: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}

_UNAVAILABLE = {name for name in ("WEBP", "AVIF") if not features.check(name.lower())}

# Pillow documents none of the exceptions of its decoders. These are all that parsing hostile
# bytes in Python can end in; anything else (an interrupt, a fault of ours) goes through.
DECODE_ERRORS = (
    OSError,
    SyntaxError,  # Pillow's word for "not such a file"
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    RuntimeError,  # also NotImplementedError and RecursionError
    BufferError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class PictureError(Exception):
    """The bytes hold no usable picture: `reason` is of the contract, `detail` for people."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class PictureFacts:
    """What ingest keeps of a picture: its upright size, and a thumbnail where one was asked for."""

    width: int
    height: int
    thumbnail: bytes | None


def open_picture(data: bytes) -> Image.Image:
    """Decode an image file's bytes: RGB, upright by EXIF, the first frame where it moves.

    Alpha is composited on white, grey of more than 8 bits scaled to 8; the same bytes always
    give the same pixels. Raises `PictureError`.
    """
    with _decoded(data) as picture:
        return picture


def open_pixels(data: bytes) -> np.ndarray:
    """The pixels of `open_picture`, by torchvision where that is quicker: uint8 `[h, w, 3]`.

    C-contiguous. Raises `PictureError`.
    """
    kind = _recognised(data, "")
    with QUIET:
        with ExitStack() as turn:
            pixels = _quick_pixels(data, kind, turn)
            if pixels is not None:
                return pixels
        with ExitStack() as turn:
            return np.array(_decode(data, kind, turn))


def picture_facts(data: bytes, thumbnails: bool, name: str = "") -> PictureFacts:
    """Decode and keep only the size and, if `thumbnails`, the thumbnail. Raises `PictureError`.

    `name` is the file's: content that is nothing at all is corrupt where the name claims an image.
    """
    with _decoded(data, name) as picture:
        small = thumbnail(picture) if thumbnails else None
        return PictureFacts(picture.width, picture.height, small)


def thumbnail(picture: Image.Image) -> bytes:
    """A baseline JPEG of `picture` (RGB), no side over `THUMBNAIL_SIDE`, never enlarged."""
    small = picture.copy() if max(picture.size) <= THUMBNAIL_SIDE else picture
    scale = THUMBNAIL_SIDE / max(picture.size)
    if scale < 1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        small = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    out = BytesIO()
    small.save(out, "JPEG", quality=THUMBNAIL_QUALITY, progressive=False, optimize=False)
    return out.getvalue()


def check_file_size(size: int) -> None:
    """Raise `PictureError` for a file of `size` bytes that is not even worth reading."""
    if size == 0:
        raise PictureError(Reason.EMPTY_IMAGE, "the file has 0 bytes")
    if size > MAX_FILE_BYTES:
        raise PictureError(
            Reason.DECOMPRESSION_BOMB,
            f"the file has {size} bytes, at most {MAX_FILE_BYTES} are read",
        )


@contextmanager
def _decoded(data: bytes, name: str = "") -> Iterator[Image.Image]:
    """The picture; while the block runs a large one keeps other large ones waiting."""
    kind = _recognised(data, name)
    with QUIET, ExitStack() as turn:
        yield _decode(data, kind, turn)


def _quick_pixels(data: bytes, kind: str, turn: ExitStack) -> np.ndarray | None:
    """The upright pixels of a plain file; None: Pillow shall decode it, or say what is wrong.

    Raises `PictureError` for what the header alone forbids.
    """
    try:
        picture = _header(data, kind, turn)
        if min(picture.size) < MIN_SIDE or not tensor_decoders.plain(kind, picture, data):
            return None
        upright = _turn(picture)
    except DECODE_ERRORS:
        return None
    pixels = tensor_decoders.decode(kind, data)
    if pixels is None or pixels.shape[1::-1] != picture.size:
        return None
    return np.ascontiguousarray(pixels if upright is None else _ARRAY_TURNS[upright](pixels))


def _header(data: bytes, kind: str, turn: ExitStack) -> ImageFile.ImageFile:
    """The picture opened but not decoded, its size checked, its turn taken where it is large."""
    if kind == "WEBP":
        _check_pixels(webp_size(data) or (0, 0))
    picture = _OPENERS[kind](BytesIO(data))
    _check_pixels(picture.size)
    if picture.width * picture.height > LARGE_PIXELS:
        turn.enter_context(_ONE_LARGE)
    return picture


def _decode(data: bytes, kind: str, turn: ExitStack) -> Image.Image:
    picture: ImageFile.ImageFile | None = None
    try:
        picture = _header(data, kind, turn)
        picture.load()
        upright = _upright(picture, _rgb(picture))
    except DECODE_ERRORS as error:
        raise _verdict(kind, data, picture, error) from error
    except MemoryError as error:
        raise PictureError(
            Reason.DECOMPRESSION_BOMB, f"not enough memory to decode this {kind}"
        ) from error
    if min(upright.size) < MIN_SIDE:
        raise PictureError(
            Reason.IMAGE_TOO_SMALL,
            f"{upright.width} x {upright.height} px, expected at least {MIN_SIDE} on each side",
        )
    return upright


class LargePictureError(Exception):
    """A picture above `LARGE_PIXELS`, in a process that leaves such to another."""


class _Left:
    """In place of the lock: no turn ever comes."""

    def __enter__(self) -> None:
        raise LargePictureError

    def __exit__(self, *_: object) -> None:
        """Nothing was held."""


_ONE_LARGE: AbstractContextManager[Any] = threading.Lock()


def leave_large() -> None:
    """From now on this process decodes no large picture: `LargePictureError` is raised instead.

    One process of several does, for all: large pictures stay one at a time.
    """
    global _ONE_LARGE
    _ONE_LARGE = _Left()


def _recognised(data: bytes, name: str) -> str:
    """The content's format; `name` only tells a destroyed image from a file of another kind."""
    check_file_size(len(data))
    kind = image_format(data)
    if kind is not None:
        if kind in _UNAVAILABLE:
            raise PictureError(
                Reason.UNSUPPORTED_FORMAT,
                f"this build of Pillow {PIL.__version__} cannot read {kind}: use Pillow's wheel",
            )
        return kind
    if (cut := cut_signature(data)) is not None:
        raise PictureError(
            Reason.TRUNCATED_IMAGE, f"{cut}: the file ends within the signature, {data!r}"
        )
    if (other := stranger(data)) is not None:
        raise PictureError(
            Reason.UNSUPPORTED_FORMAT, f"the content is {other}, expected one of {_EXPECTED}"
        )
    if (claimed := claimed_format(name)) is not None:
        raise PictureError(
            Reason.CORRUPT_IMAGE, f"named as {claimed}, but the content starts with {data[:12]!r}"
        )
    raise PictureError(
        Reason.UNSUPPORTED_FORMAT,
        f"the content starts with {data[:12]!r}, expected one of {_EXPECTED}",
    )


_EXPECTED = " ".join(FORMATS).lower()


def _check_pixels(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise PictureError(
            Reason.DECOMPRESSION_BOMB, f"{width} x {height} px, at most {MAX_PIXELS} are decoded"
        )


_BOMB_WORDS = ("data too large", "too much memory", "decompression bomb")
_UNSUPPORTED_WORDS = ("unsupported", "unknown pixel mode", "not supported")


def _verdict(
    name: str, data: bytes, picture: ImageFile.ImageFile | None, error: Exception
) -> PictureError:
    """Why Pillow failed: it says so in words only, or the file's own structure does."""
    said = str(error).lower()
    detail = f"{name}: {error or type(error).__name__}"
    if isinstance(error, Image.DecompressionBombError) or any(w in said for w in _BOMB_WORDS):
        return PictureError(Reason.DECOMPRESSION_BOMB, detail)
    if "truncated" in said or ends_early(name, data) or _strips_end_early(picture, len(data)):
        return PictureError(Reason.TRUNCATED_IMAGE, detail)
    if isinstance(error, NotImplementedError) or any(w in said for w in _UNSUPPORTED_WORDS):
        return PictureError(Reason.UNSUPPORTED_FORMAT, detail)
    return PictureError(Reason.CORRUPT_IMAGE, detail)


def _strips_end_early(picture: ImageFile.ImageFile | None, size: int) -> bool:
    """Whether a TIFF's strips or tiles reach beyond the file's end."""
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return False
    tags = picture.tag_v2
    for offsets, counts in ((273, 279), (324, 325)):
        ends = zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
        if any(offset + count > size for offset, count in ends):
            return True
    return False


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return _eight_bit_grey(picture).convert("RGB")
    if picture.has_transparency_data:
        layer = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        ground = Image.new("RGB", picture.size, "white")
        ground.paste(layer, mask=layer)
        return ground
    if picture.mode == "LAB":
        raise NotImplementedError("colour space LAB is not supported")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _turn(picture: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(picture.getexif().get(ORIENTATION, 1))
    except DECODE_ERRORS:
        return None  # EXIF that cannot be read says nothing about what is up; the pixels are good


def _upright(picture: Image.Image, rgb: Image.Image) -> Image.Image:
    turn = _turn(picture)
    upright = rgb.copy() if turn is None else rgb.transpose(turn)  # a plain image, without a file
    upright.info = {}  # the orientation has been applied: nobody shall apply it again
    return upright


def _eight_bit_grey(picture: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits or floating point → 8 bits, by strips; negative and NaN are black."""
    rows = max(1, STRIP_PIXELS // picture.width)
    boxes = [
        (0, top, picture.width, min(picture.height, top + rows))
        for top in range(0, picture.height, rows)
    ]
    strips = (np.nan_to_num(np.asarray(picture.crop(box), np.float32)) for box in boxes)
    white = 65535.0
    if not picture.mode.startswith("I;16"):
        white = _white(max(float(strip.max()) for strip in strips), picture.mode)
        strips = (np.nan_to_num(np.asarray(picture.crop(box), np.float32)) for box in boxes)
    grey = Image.new("L", picture.size)
    for box, strip in zip(boxes, strips, strict=True):
        levels = np.clip(strip * np.float32(255 / white), 0, 255).astype(np.uint8)
        grey.paste(Image.fromarray(levels), box)
    return grey


def _white(brightest: float, mode: str) -> float:
    """The value of white: the smallest usual full scale that holds the brightest pixel."""
    scales = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)
    return next((scale for scale in scales if brightest <= scale), brightest)
