"""caffe2_detect prepares an image as Python does: what it feeds the net is the same to the bit."""

import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytestmark = [pytest.mark.cpp, pytest.mark.xdist_group("cpp")]

Detect = Callable[..., "subprocess.CompletedProcess[str]"]
HoldFed = Callable[[list[Path]], None]
RNG = np.random.default_rng(0)


@pytest.fixture
def hold_fed(
    caffe2_detect: Detect, fed: Callable[..., Any], converted: Callable[[str], Path], box_model: Path, tmp_path: Path
) -> HoldFed:
    """`hold_fed(files)`: a net is fed by the program what it is fed in Python."""

    def hold(files: list[Path]) -> None:
        folder = converted(box_model.name)
        nets = ["--predict_net", folder / "model.pb", "--init_net", folder / "model_init.pb"]
        inputs = [word for file in files for word in ("--input", file)]
        done = caffe2_detect(*nets, *inputs, "--dump", tmp_path / "fed")
        assert done.returncode == 0, done.stderr
        for file in files:
            data, im_info = fed(folder, file)
            found = np.load(tmp_path / "fed" / f"{file.name}.data.npy")
            np.testing.assert_array_equal(found, data, err_msg=file.name)
            np.testing.assert_array_equal(np.load(tmp_path / "fed" / f"{file.name}.im_info.npy"), im_info)

    return hold


def pixels(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """Smooth, so that JPEG keeps it, with noise, so that every rounding shows."""
    rows, columns = np.mgrid[:height, :width]
    smooth = np.stack([rows * (2 + i) + columns * (3 - i) for i in range(channels)], axis=2)
    noisy = (smooth + RNG.integers(0, 40, smooth.shape)) % 256
    return np.asarray(noisy[:, :, 0] if channels == 1 else noisy, np.uint8)


def deep_png(rgb: NDArray[np.uint8]) -> bytes:
    """An RGB image of 16 bits a channel, of which the lower 8 are the upper ones turned round."""
    height, width, _ = rgb.shape
    rows = np.stack([rgb, 255 - rgb], axis=3).reshape(height, width * 6)
    content = np.hstack([np.zeros((height, 1), np.uint8), rows]).tobytes()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(content))]
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in [*chunks, (b"IEND", b"")]:
        parts.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(parts)


def test_an_image_of_any_size_is_resized_and_padded_as_pillow_and_detectron2_do(
    hold_fed: HoldFed, tmp_path: Path
) -> None:
    files = []
    for number in range(24):
        height, width = (int(side) for side in RNG.integers(1, 400, 2))
        # No edge may become 0, which is another test's.
        height, width = max(height, width // 6), max(width, height // 6)
        files.append(tmp_path / f"{number}_{height}x{width}.png")
        Image.fromarray(pixels(height, width)).save(files[-1])
    hold_fed(files)


def test_an_image_of_any_kind_is_read_as_pillow_reads_it(hold_fed: HoldFed, shapes: Path, tmp_path: Path) -> None:
    rgb, grey, alpha = pixels(90, 130), pixels(90, 130, 1), pixels(90, 130, 4)
    made: dict[str, Image.Image] = {
        "grey.png": Image.fromarray(grey),
        "rgba.png": Image.fromarray(alpha),
        "grey_alpha.png": Image.fromarray(grey).convert("LA"),
        "palette.png": Image.fromarray(rgb).quantize(50),
        "bits.png": Image.fromarray(grey).convert("1"),
        "deep_grey.png": Image.fromarray(grey.astype(np.uint16) * 3),
        "plain.jpg": Image.fromarray(rgb),
        "grey.jpg": Image.fromarray(grey),
        "cmyk.jpg": Image.fromarray(rgb).convert("CMYK"),
    }
    files = []
    for name, image in made.items():
        files.append(tmp_path / name)
        image.save(files[-1])
    for name, options in {
        "progressive.jpg": {"progressive": True},
        "full_color.jpg": {"subsampling": 0, "quality": 95},
        "half_color.jpg": {"subsampling": 1},
    }.items():
        files.append(tmp_path / name)
        Image.fromarray(rgb).save(files[-1], **options)
    # Pillow reads colour of 16 bits and writes none.
    files.append(tmp_path / "deep_color.png")
    files[-1].write_bytes(deep_png(rgb))
    files += sorted((shapes / "val" / "images").glob("*.jpg"))[:4]
    hold_fed(files)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_an_image_is_turned_upright_as_its_exif_block_says(hold_fed: HoldFed, tmp_path: Path, suffix: str) -> None:
    files = []
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        files.append(tmp_path / f"{orientation}.{suffix}")
        Image.fromarray(pixels(60, 90)).save(files[-1], exif=exif)
    hold_fed(files)
