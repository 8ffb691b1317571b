"""PNGs whose pixels are ids or labels, decoded only where they are as large as they should be."""

import io
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from roastery.errors import DatasetError
from roastery.regular_file import require_regular

Value = TypeVar("Value", bound=np.generic)

IGNORED = 255
"""The label of pixels that do not count."""

MAX_PIXELS = 1 << 26
"""8192 x 8192: as 64-bit ids they take 0.5 GB. COCO's have 640 x 640 at most, Mapillary's 22 million."""
# What a PNG has beside its pixels: header, palette, text.
_AROUND = 1 << 20
# Signature, and length and name of the first chunk.
_PNG_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
# What Pillow's decoder raises for a damaged file.
_DECODING_ERRORS = (EOFError, KeyError, OSError, SyntaxError, TypeError, ValueError, struct.error)


@overload
def read_png(path: Path, height: int, width: int, modes: Collection[str]) -> NDArray[np.uint8]: ...


@overload
def read_png(path: Path, height: int, width: int, modes: Collection[str], dtype: type[Value]) -> NDArray[Value]: ...


def read_png(path: Path, height: int, width: int, modes: Collection[str], dtype: type[Any] = np.uint8) -> NDArray[Any]:
    """The file's values, (H, W), or (H, W, 3) of mode "RGB".

    Args:
        height, width: the pixels that it must have.
        modes: Pillow's modes that it may have: "RGB", "L", "I;16", or "P", whose indices are given.
        dtype: what its values fit in.

    Raises:
        DatasetError: a file that is missing, damaged, no such PNG, or of another size.
    """
    if height * width > MAX_PIXELS:
        raise DatasetError(f"{path}: of {height} x {width} pixels, {MAX_PIXELS} are read at most; cut the image up")
    try:
        require_regular(path)
        # Even uncompressed its pixels take no more than 4 bytes each; what is longer hides something else.
        if path.stat().st_size > 4 * height * width + _AROUND:
            raise DatasetError(f"{path}: is larger than {height} x {width} pixels are in PNG; replace it")
        # Out of a file, Pillow would reserve the memory that a chunk says it has. Of other formats' decoders some run
        # programs.
        with Image.open(io.BytesIO(path.read_bytes()), formats=["PNG"]) as opened:
            _check(opened, path, height, width, modes)
            return np.array(opened, dtype=dtype)
    except Image.DecompressionBombError as error:
        raise DatasetError(f"{path}: {error}; replace it by one of {height} x {width} pixels") from None
    except _DECODING_ERRORS as error:
        problem = getattr(error, "strerror", None) or error
        raise DatasetError(f"{path}: cannot be read as a PNG ({problem}); replace it") from None


def png_size(path: Path) -> tuple[int, int]:
    """Height and width, as the file's first bytes say them.

    Raises:
        DatasetError: a file that is missing or no PNG.
    """
    try:
        require_regular(path)
        with path.open("rb") as file:
            head = file.read(len(_PNG_HEAD) + 8)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read as a PNG ({error.strerror}); replace it") from None
    if len(head) < len(_PNG_HEAD) + 8 or not head.startswith(_PNG_HEAD):
        raise DatasetError(f"{path}: cannot be read as a PNG (it does not begin as one); replace it")
    width, height = struct.unpack_from(">II", head, len(_PNG_HEAD))
    return height, width


def read_labels(path: Path, height: int, width: int, count: int, known: str) -> NDArray[np.uint8]:
    """Labels (H, W), less than `count`, or `IGNORED`.

    Args:
        known: what there is, and how to label it, for the error.

    Raises:
        DatasetError: as `read_png`; a label that is none of them.
    """
    labels = read_png(path, height, width, {"L", "P"})
    unknown = [label for label in np.unique(labels).tolist() if count <= label < IGNORED]
    if unknown:
        raise DatasetError(f"{path}: has the label {unknown[0]}, but {known}")
    return labels


def _check(opened: Any, path: Path, height: int, width: int, modes: Collection[str]) -> None:
    if opened.size != (width, height):
        raise DatasetError(
            f"{path}: is {opened.size[1]} x {opened.size[0]} pixels (height x width), but the annotations say "
            f"{height} x {width}; correct the annotations or replace the file"
        )
    if opened.mode not in modes:
        raise DatasetError(f"{path}: is a PNG of mode {opened.mode}, not {' or '.join(sorted(modes))}; save it as such")
