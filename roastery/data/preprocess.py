"""From an image file to what a detector takes, pixel for pixel as detectron2 prepares it for testing.

Source: detectron2/data/detection_utils.py (`read_image`), data/transforms (`ResizeShortestEdge`, `ResizeTransform`),
data/dataset_mapper.py and structures/image_list.py, release 0.5.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from yacs.config import CfgNode

from roastery.data.coco import ImageRecord
from roastery.data.proposals import ProposalFile
from roastery.errors import ConfigError, DatasetError

FORMATS = ("BGR", "RGB", "L")
ENCODINGS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
"""What bytes are read as: Pillow hands some of its other formats to programs of the system."""
MOST_ENCODED_PIXELS = 50_000_000
"""Of an image out of bytes: few bytes can claim many pixels, and each mask of it takes a byte a pixel."""

_ORIENTATION_TAG = 274
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's decoders raise for a damaged file.
_DECODING_ERRORS = (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class EncodedImage:
    """An image file's bytes, which may be a stranger's.

    Attributes:
        name: what errors call it.
    """

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


def read_image(source: Path | str | EncodedImage, format: str = "BGR") -> NDArray[np.uint8]:
    """An image file as (H, W, C) uint8, turned upright as its EXIF orientation says.

    Args:
        source: a path, or bytes, of which `ENCODINGS` and at most `MOST_ENCODED_PIXELS` are read.
        format: "BGR", "RGB" (C = 3) or "L" (C = 1).

    Raises:
        DatasetError: the file is missing, damaged or not an image.
        ConfigError: another format.
    """
    if format not in FORMATS:
        raise ConfigError(f"INPUT.FORMAT: {format!r} is not read; use one of {', '.join(FORMATS)}")
    try:
        with _opened(source) as opened:
            image = _upright(opened).convert("L" if format == "L" else "RGB")
            pixels: NDArray[np.uint8] = np.asarray(image)
    except FileNotFoundError:
        raise DatasetError(f"{source}: no such image; correct the path or the dataset's image folder") from None
    except _DECODING_ERRORS as error:
        raise DatasetError(
            f"{source}: cannot be read as an image ({type(error).__name__}: {error}); replace it"
        ) from None
    if format == "L":
        return pixels[:, :, None]
    return np.ascontiguousarray(pixels[:, :, ::-1]) if format == "BGR" else pixels


def resized_size(height: int, width: int, min_size: int, max_size: int) -> tuple[int, int]:
    """Height and width after the shortest edge became `min_size`, or the longest `max_size` where it would be longer.

    Both are rounded half up, the edge that was set too. `min_size` 0 leaves the size as it is.

    Raises:
        DatasetError: the image is so thin that no pixel of its shorter edge would be left.
    """
    if min_size == 0:
        return height, width
    scale = min_size * 1.0 / min(height, width)
    new_height, new_width = (min_size, scale * width) if height < width else (scale * height, min_size)
    if max(new_height, new_width) > max_size:
        scale = max_size * 1.0 / max(new_height, new_width)
        new_height, new_width = new_height * scale, new_width * scale
    new_height, new_width = int(new_height + 0.5), int(new_width + 0.5)
    if new_height == 0 or new_width == 0:
        raise DatasetError(
            f"an image of {height} x {width} pixels has an edge of 0 when it is resized to at most {max_size}; "
            "remove it from the dataset or raise INPUT.MAX_SIZE_TEST"
        )
    return new_height, new_width


def resize_shortest_edge(image: NDArray[np.uint8], min_size: int, max_size: int) -> NDArray[np.uint8]:
    """An (H, W, C) uint8 image at its `resized_size`, by Pillow's bilinear filter."""
    height, width, channels = image.shape
    new_height, new_width = resized_size(height, width, min_size, max_size)
    if (new_height, new_width) == (height, width):
        return image
    source = Image.fromarray(np.ascontiguousarray(image[:, :, 0] if channels == 1 else image))
    resized = np.asarray(source.resize((new_width, new_height), Image.Resampling.BILINEAR))
    return resized[:, :, None] if channels == 1 else resized


def to_input(
    source: ImageRecord | Path | str | EncodedImage, config: CfgNode, proposals: ProposalFile | None = None
) -> dict[str, Any]:
    """What a detector takes for one image: detectron2's input dict.

    Args:
        source: an image file, its bytes, or a dataset's record of one, whose size must be the file's.
        proposals: the dataset's, which a model with MODEL.LOAD_PROPOSALS takes.

    Returns:
        "image": (C, H, W) float32, 0..255, in INPUT.FORMAT's order and resized for testing; "height" and "width" of the
        image before that; "image_id" where `source` is a record; of a record "proposals" too, where the model takes
        them.

    Raises:
        DatasetError, ConfigError: as `read_image`; a file whose size is not what the dataset says; a dataset without
            proposals for a model that takes them.
    """
    path = source.path if isinstance(source, ImageRecord) else source
    pixels = read_image(path, config.INPUT.FORMAT)
    height, width = pixels.shape[:2]
    if isinstance(source, ImageRecord) and (height, width) != (source.height, source.width):
        raise DatasetError(
            f"{path}: is {height} x {width} pixels (height x width), but the dataset says "
            f"{source.height} x {source.width}; correct the annotations or replace the image"
        )
    try:
        resized = resize_shortest_edge(pixels, config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST)
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from None
    image = torch.from_numpy(resized.transpose(2, 0, 1).astype(np.float32))
    entry: dict[str, Any] = {"image": image, "height": height, "width": width}
    if isinstance(source, ImageRecord):
        entry["image_id"] = source.id
        if config.MODEL.LOAD_PROPOSALS:
            if proposals is None:
                raise DatasetError(
                    "MODEL.LOAD_PROPOSALS: the model takes precomputed proposals, and the dataset has none; add "
                    "proposals to its YAML"
                )
            seen = (int(image.shape[1]), int(image.shape[2]))
            entry["proposals"] = proposals.of_image(source.id, (height, width), seen, config)
    return entry


def pad_and_batch(
    images: Sequence[Tensor], size_divisibility: int, pad_value: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """The images in one batch, padded at the right and the bottom.

    Args:
        images: (C, h, w) tensors, 0..255, of one C and any sizes.
        size_divisibility: height and width of the batch are multiples of it; 0 and 1 ask for nothing.
        pad_value: what to pad with, one value a channel: the pixel mean, so that the padding is 0 once normalised.

    Returns:
        data (N, C, H, W) float32, and im_info (N, 3) float32: h, w, 1.0 of each image.

    Raises:
        DatasetError: no images, or one that is not (C, h, w) with at least one pixel.
    """
    channels = len(pad_value)
    for image in images:
        if image.dim() != 3 or image.shape[0] != channels or image.numel() == 0:
            raise DatasetError(
                f"an image of shape {tuple(image.shape)} is not ({channels}, height, width); give images channels first"
            )
    if not images:
        raise DatasetError("a batch of no images cannot be made; give at least one")
    height, width = padded_size([image.shape[1:] for image in images], size_divisibility)
    data = torch.tensor(pad_value, dtype=torch.float32).reshape(1, channels, 1, 1)
    data = data.repeat(len(images), 1, height, width)
    for padded, image in zip(data, images, strict=True):
        padded[:, : image.shape[1], : image.shape[2]].copy_(image)
    im_info = torch.tensor([[*image.shape[1:], 1.0] for image in images], dtype=torch.float32)
    return data, im_info


def net_inputs(
    inputs: Sequence[Mapping[str, Any]], size_divisibility: int, pad_value: Sequence[float]
) -> dict[str, NDArray[np.float32]]:
    """What a net takes of detectron2's input dicts.

    Args:
        inputs: for each image {"image": (C, h, w) tensor, ...} and, for a net that takes proposals, "proposals".
        size_divisibility, pad_value: as in `pad_and_batch`.

    Returns:
        `data` and `im_info` as `pad_and_batch` gives them and, where the inputs have proposals, `rois` (n, 5): the
        index of the image in the batch, and xyxy pixels of it.

    Raises:
        DatasetError: an image that is none.
    """
    images = [single["image"].to(torch.float32) for single in inputs]
    data, im_info = pad_and_batch(images, size_divisibility, pad_value)
    arrays = {"data": data.numpy(), "im_info": im_info.numpy()}
    if any("proposals" in single for single in inputs):
        boxes = [single["proposals"].proposal_boxes.tensor for single in inputs]
        rois = [torch.cat([box.new_full((len(box), 1), float(index)), box], 1) for index, box in enumerate(boxes)]
        arrays["rois"] = torch.cat(rois).numpy()
    return arrays


def padded_size(sizes: Sequence[Sequence[int]], size_divisibility: int) -> tuple[int, int]:
    """Height and width of the batch that holds images of these heights and widths."""
    divisor = max(size_divisibility, 1)
    height, width = (-(-max(size[axis] for size in sizes) // divisor) * divisor for axis in (0, 1))
    return height, width


def _opened(source: Path | str | EncodedImage) -> Image.Image:
    if not isinstance(source, EncodedImage):
        return Image.open(source)
    try:
        image = Image.open(BytesIO(source.content), formats=ENCODINGS)
    except UnidentifiedImageError:
        kinds = ", ".join(ENCODINGS)
        raise DatasetError(f"{source}: is no {kinds} file; give an image file's bytes, not its path") from None
    if image.width * image.height > MOST_ENCODED_PIXELS:
        most = MOST_ENCODED_PIXELS // 1_000_000
        raise DatasetError(f"{source}: is {image.height} x {image.width} pixels, over {most} million; make it smaller")
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except _DECODING_ERRORS:
        # detectron2 takes an image whose EXIF block is damaged as it lies.
        return image
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)
