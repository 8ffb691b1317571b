"""Images become what detectron2 fed its models, to the last pixel."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from yacs.config import CfgNode

from roastery.config import load_config
from roastery.data.coco import ImageRecord
from roastery.data.preprocess import pad_and_batch, read_image, resize_shortest_edge, resized_size, to_input
from roastery.errors import ConfigError, DatasetError

# examples/shapes/*/config.yaml, INPUT.
MIN_SIZE, MAX_SIZE = 160, 256


@pytest.fixture
def config(mask_model: Path) -> CfgNode:
    return load_config(mask_model / "config.yaml")


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((480, 640), (800, 1333), (800, 1067)),  # 1066.67 is rounded
        ((640, 480), (800, 1333), (1067, 800)),
        ((427, 640), (800, 1333), (800, 1199)),
        ((333, 500), (800, 1333), (800, 1201)),
        ((240, 640), (800, 1333), (500, 1333)),  # the longest edge decides
        ((640, 240), (800, 1333), (1333, 500)),
        ((100, 100), (800, 1333), (800, 800)),
        ((2000, 3000), (800, 1333), (800, 1200)),
        ((3, 4), (6, 7), (5, 7)),  # 5.25 and 7.0
        ((2, 4), (5, 9), (5, 9)),  # 4.5 is rounded up
        ((480, 640), (0, 1333), (480, 640)),  # 0 turns resizing off, MAX_SIZE too
        ((480, 2000), (0, 1333), (480, 2000)),
        ((2, 1000), (800, 1333), (3, 1333)),  # 2.666
    ],
)
def test_the_size_rule_is_resize_shortest_edges(
    size: tuple[int, int], limits: tuple[int, int], expected: tuple[int, int]
) -> None:
    # By hand from ResizeShortestEdge.get_transform: scale, limit, then int(x + 0.5).
    assert resized_size(*size, *limits) == expected


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 1200), st.integers(1, 2000))
def test_a_size_stays_in_its_bounds_and_its_shape(height: int, width: int, min_size: int, max_size: int) -> None:
    try:
        new_height, new_width = resized_size(height, width, min_size, max_size)
    except DatasetError:
        assert min(height, width) * max_size / max(height, width) < 0.5
        return
    assert min(new_height, new_width) <= min_size
    assert max(new_height, new_width) <= max_size
    # One of the two limits is reached, and the ratio of the edges is kept to within the rounding.
    assert min(new_height, new_width) == min_size or max(new_height, new_width) == max_size
    assert abs(new_height * width - new_width * height) <= 0.5 * (width + height) * (1 + 1e-9)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 1200), st.integers(1200, 2000))
def test_a_size_is_turned_with_the_image(height: int, width: int, min_size: int, max_size: int) -> None:
    try:
        expected = resized_size(height, width, min_size, max_size)
    except DatasetError:
        return
    assert resized_size(width, height, min_size, max_size) == expected[::-1]


def test_an_image_too_thin_to_resize_is_refused_with_its_file(tmp_path: Path, config: CfgNode) -> None:
    path = tmp_path / "thin.png"
    Image.new("RGB", (2000, 1)).save(path)
    with pytest.raises(DatasetError, match=r"thin\.png: an image of 1 x 2000 pixels .* edge of 0"):
        to_input(path, config)


@pytest.mark.parametrize("size", [(7, 5), (200, 300), (160, 160)])
def test_resizing_is_pillows_bilinear_on_bytes(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    height, width = resized_size(*size, MIN_SIZE, MAX_SIZE)
    expected = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    assert np.array_equal(resize_shortest_edge(image, MIN_SIZE, MAX_SIZE), np.asarray(expected))
    # The channels do not mix, so one alone, and in the other order, give the same; a view with negative strides too.
    backwards = resize_shortest_edge(image[:, :, ::-1], MIN_SIZE, MAX_SIZE)
    assert np.array_equal(backwards[:, :, ::-1], np.asarray(expected))
    alone = resize_shortest_edge(image[:, :, :1], MIN_SIZE, MAX_SIZE)
    assert np.array_equal(alone[:, :, 0], np.asarray(expected)[:, :, 0])


def test_the_formats_order_the_channels(tmp_path: Path) -> None:
    path = tmp_path / "pixel.png"
    Image.new("RGB", (2, 3), (10, 20, 30)).save(path)
    assert read_image(path, "BGR").tolist() == [[[30, 20, 10]] * 2] * 3
    assert read_image(path, "RGB").tolist() == [[[10, 20, 30]] * 2] * 3
    assert read_image(path, "L").tolist() == [[[18]] * 2] * 3  # (10 * 299 + 20 * 587 + 30 * 114) / 1000, rounded


@pytest.mark.parametrize("format", ["YUV-BT.601", "HSV", "", "bgr"])
def test_another_format_is_refused(tmp_path: Path, format: str) -> None:
    path = tmp_path / "pixel.png"
    Image.new("RGB", (2, 3)).save(path)
    with pytest.raises(ConfigError, match=r"INPUT\.FORMAT: .* use one of BGR, RGB, L"):
        read_image(path, format)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_an_image_of_another_mode_becomes_three_channels(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    Image.new("RGB", (4, 2), (255, 255, 255)).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (2, 4, 3)
    assert (image == 255).all()


@pytest.mark.parametrize("orientation", range(9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_an_image_is_turned_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    # exiv2.org/tags.html: where row 0 and column 0 of the stored image are in the upright one.
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16, 0] = 255
    stored = {
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.transpose(1, 0, 2),  # left, top
        6: upright.transpose(1, 0, 2)[::-1],  # right, top
        7: upright[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
        8: upright.transpose(1, 0, 2)[:, ::-1],  # left, bottom
    }.get(orientation, upright)
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=100, subsampling=0)
    found = read_image(path, "RGB")
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).max() <= 8  # JPEG is not exact


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_damaged_exif_block_leaves_the_image_as_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    Image.new("RGB", (16, 8), (0, 0, 255)).save(path, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert read_image(path).shape == (8, 16, 3)


def test_what_is_no_image_is_refused_with_its_file(tmp_path: Path, shapes: Path) -> None:
    content = (shapes / "val" / "images" / "000001.jpg").read_bytes()
    cases = {"none.jpg": None, "empty.jpg": b"", "text.jpg": b"not an image", "cut.jpg": content[: len(content) // 2]}
    cases |= {"head.jpg": content[:40], "broken.png": b"\x89PNG\r\n\x1a\n" + b"\0" * 40}
    for name, data in cases.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(DatasetError, match=name) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(DatasetError, match="cannot be read as an image"):
        read_image(tmp_path)


def test_an_image_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(path)
    assert path.stat().st_size < 100_000
    with pytest.raises(DatasetError, match=r"bomb\.png"):
        read_image(path)


def test_a_record_gives_its_id_and_checks_its_size(shapes: Path, config: CfgNode) -> None:
    path = shapes / "val" / "images" / "000002.jpg"
    entry = to_input(ImageRecord(7, path, 160, 192), config)
    assert (entry["image_id"], entry["height"], entry["width"]) == (7, 160, 192)
    assert entry["image"].shape == (3, 160, 192)
    assert entry["image"].dtype == torch.float32
    with pytest.raises(DatasetError, match=r"000002\.jpg: is 160 x 192 pixels .* says 192 x 160"):
        to_input(ImageRecord(7, path, 192, 160), config)


def test_the_input_follows_the_configs_format_and_sizes(shapes: Path, config: CfgNode) -> None:
    path = shapes / "val" / "images" / "000001.jpg"
    config = config.clone()
    config.defrost()
    bgr = to_input(path, config)["image"]
    config.INPUT.FORMAT = "RGB"
    assert torch.equal(to_input(path, config)["image"], bgr.flip(0))
    config.INPUT.MIN_SIZE_TEST = 0
    assert to_input(path, config)["image"].shape == (3, 180, 180)
    config.INPUT.FORMAT = "L"
    assert to_input(path, config)["image"].shape == (1, 180, 180)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=4),
    divisor=st.sampled_from([0, 1, 2, 8, 32]),
    dtype=st.sampled_from([torch.float32, torch.uint8]),
)
def test_a_batch_holds_each_image_and_nothing_but_padding(
    sizes: list[tuple[int, int]], divisor: int, dtype: torch.dtype
) -> None:
    mean = [103.53, 116.28, 123.675]
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (3, *size), generator=generator).to(dtype) for size in sizes]
    data, im_info = pad_and_batch(images, divisor, mean)
    assert data.dtype == im_info.dtype == torch.float32
    height, width = data.shape[2:]
    longest = [max(size[axis] for size in sizes) for axis in (0, 1)]
    for extent, least in zip((height, width), longest, strict=True):
        assert extent % max(divisor, 1) == 0
        assert least <= extent < least + max(divisor, 1)
    for padded, image, info in zip(data, images, im_info, strict=True):
        assert info.tolist() == [*image.shape[1:], 1.0]
        assert torch.equal(padded[:, : image.shape[1], : image.shape[2]], image.float())
        outside = torch.ones(height, width, dtype=torch.bool)
        outside[: image.shape[1], : image.shape[2]] = False
        assert torch.equal(padded[:, outside], torch.tensor(mean)[:, None].expand(3, int(outside.sum())))


def test_padding_with_the_mean_is_zero_once_normalised() -> None:
    mean, std = torch.tensor([103.53, 116.28, 123.675]), torch.tensor([57.375, 57.12, 58.395])
    data, _ = pad_and_batch([torch.zeros(3, 5, 5)], 32, mean.tolist())
    normalised = (data - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)
    assert (normalised[:, :, 5:] == 0).all()
    assert (normalised[:, :, :, 5:] == 0).all()


@pytest.mark.parametrize("shape", [(5, 5), (1, 5, 5), (5, 5, 3), (1, 3, 5, 5), (3, 0, 5), (3, 5, 0), (0,)])
def test_an_image_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DatasetError, match=r"is not \(3, height, width\); give images channels first"):
        pad_and_batch([torch.zeros(3, 5, 5), torch.zeros(shape)], 32, [0.0, 0.0, 0.0])


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(DatasetError, match="at least one"):
        pad_and_batch([], 32, [0.0, 0.0, 0.0])
