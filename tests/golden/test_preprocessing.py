"""Images become what detectron2 read and fed its models, to the last pixel."""

from pathlib import Path

import numpy as np
import pytest
from yacs.config import CfgNode

from roastery.config import load_config
from roastery.data.preprocess import pad_and_batch, read_image, resize_shortest_edge, to_input

# The images of examples/shapes/val that detectron2 read for tests/golden/*/caffe2_io.npz, in its order.
GOLDEN_IMAGES = ["000001.jpg", "000004.jpg", "000008.jpg", "000012.jpg"]
# examples/shapes/*/config.yaml, INPUT.
MIN_SIZE, MAX_SIZE = 160, 256


@pytest.fixture(scope="module", params=["faster_rcnn_fpn", "mask_rcnn_fpn"])
def golden_io(request: pytest.FixtureRequest, golden: Path) -> dict[str, np.ndarray]:
    with np.load(golden / request.param / "caffe2_io.npz") as content:
        return {name: content[name] for name in content if "/out/" not in name}


@pytest.fixture
def config(shapes: Path) -> CfgNode:
    return load_config(shapes / "mask_rcnn_fpn" / "config.yaml")


@pytest.mark.parametrize("k", range(4))
def test_a_jpeg_is_decoded_as_detectron2_decoded_it(golden_io: dict[str, np.ndarray], shapes: Path, k: int) -> None:
    assert np.array_equal(read_image(shapes / "val" / "images" / GOLDEN_IMAGES[k]), golden_io[f"{k}/image_bgr"])


@pytest.mark.parametrize("k", range(4))
def test_an_image_is_resized_as_detectron2_resized_it(golden_io: dict[str, np.ndarray], k: int) -> None:
    data, (height, width, _) = golden_io[f"{k}/data"], golden_io[f"{k}/im_info"][0]
    resized = resize_shortest_edge(golden_io[f"{k}/image_bgr"], MIN_SIZE, MAX_SIZE)
    assert resized.shape == (height, width, 3)
    assert np.array_equal(resized.transpose(2, 0, 1), data[0, :, : int(height), : int(width)])


@pytest.mark.parametrize("k", range(4))
def test_a_file_becomes_the_original_converters_input(
    golden_io: dict[str, np.ndarray], shapes: Path, config: CfgNode, k: int
) -> None:
    entry = to_input(shapes / "val" / "images" / GOLDEN_IMAGES[k], config)
    assert (entry["height"], entry["width"]) == golden_io[f"{k}/image_bgr"].shape[:2]
    # The original pads with 0, and its im_info has the resize's scale where ours has 1.
    data, im_info = pad_and_batch([entry["image"]], 32, [0.0, 0.0, 0.0])
    assert np.array_equal(data.numpy(), golden_io[f"{k}/data"])
    assert np.array_equal(im_info.numpy()[:, :2], golden_io[f"{k}/im_info"][:, :2])
    assert im_info[0, 2] == 1.0
