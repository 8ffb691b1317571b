"""PNGs of ids and labels are decoded only where they are what they should be."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from roastery.data.label_png import read_png
from roastery.errors import DatasetError


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    Image.fromarray(np.array([[0, 1, 255], [2, 3, 4]], np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def refusal(path: Path, height: int = 2, width: int = 3) -> str:
    with pytest.raises(DatasetError) as caught:
        read_png(path, height, width, {"L"})
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_the_values_are_given_as_they_stand(labels: Path) -> None:
    np.testing.assert_array_equal(read_png(labels, 2, 3, {"L"}), [[0, 1, 255], [2, 3, 4]])
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    Image.fromarray(pixels).save(labels)
    np.testing.assert_array_equal(read_png(labels, 2, 3, {"RGB"}), pixels)


def test_of_a_palette_the_indices_are_given_and_not_the_colours(labels: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2], [2, 1, 0]], np.uint8), mode="P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(labels)
    np.testing.assert_array_equal(read_png(labels, 2, 3, {"L", "P"}), [[0, 1, 2], [2, 1, 0]])
    assert "is a PNG of mode P, not L" in refusal(labels)


def test_another_size_is_refused_with_both_sizes(labels: Path) -> None:
    assert "is 2 x 3 pixels (height x width), but the annotations say 3 x 2; correct" in refusal(labels, 3, 2)


def test_what_is_no_png_is_refused(labels: Path) -> None:
    Image.new("L", (3, 2)).save(labels.with_suffix(".bmp"))
    assert "cannot be read as a PNG (cannot identify image file" in refusal(labels.with_suffix(".bmp"))
    labels.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 3 2\n")
    assert "cannot be read as a PNG (cannot identify image file" in refusal(labels)


def test_a_png_that_ends_early_or_is_damaged_is_refused(labels: Path) -> None:
    whole = labels.read_bytes()
    for damaged in (whole[:45], whole[:30], whole[:-20].replace(b"IDAT", b"IDAT\0\0")):
        labels.write_bytes(damaged)
        assert "cannot be read as a PNG" in refusal(labels)


def test_a_file_that_is_missing_or_none_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert "No such file" in refusal(tmp_path / "none.png")
    assert "Is a directory" in refusal(tmp_path)
    assert "Is a pipe, a socket or a device" in refusal(tmp_path / "pipe.png")
    assert "Is a pipe, a socket or a device" in refusal(Path("/dev/zero"))


def of_size(path: Path, width: int, height: int) -> None:
    """Overwrite the size that the PNG says it has."""
    header = b"IHDR" + struct.pack(">II", width, height) + path.read_bytes()[24:29]
    path.write_bytes(path.read_bytes()[:12] + header + struct.pack(">I", zlib.crc32(header)) + path.read_bytes()[33:])


def test_a_decompression_bomb_is_refused_by_what_its_header_says(labels: Path) -> None:
    of_size(labels, 60000, 60000)
    assert "decompression bomb" in refusal(labels)


def test_no_more_pixels_are_decoded_than_fit_into_memory_even_if_the_annotations_say_so(labels: Path) -> None:
    of_size(labels, 8193, 8192)
    assert "of 8192 x 8193 pixels, 67108864 are read at most" in refusal(labels, 8192, 8193)


def test_a_png_that_hides_something_larger_than_its_pixels_is_refused(labels: Path) -> None:
    more = PngImagePlugin.PngInfo()
    more.add(b"hiDe", bytes(2 << 20))
    Image.new("L", (3, 2)).save(labels, pnginfo=more)
    assert "is larger than 2 x 3 pixels are in PNG" in refusal(labels)
