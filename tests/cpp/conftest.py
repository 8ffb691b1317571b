"""What a converted net is fed in Python: what caffe2_detect has to feed it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from roastery.caffe2.nets import load_nets, net_argument
from roastery.data.preprocess import pad_and_batch, read_image, resize_shortest_edge


@pytest.fixture(scope="session")
def fed() -> Callable[[Path, Path], tuple[NDArray[Any], NDArray[Any]]]:
    """`fed(folder, file)`: data and im_info of an image file for the net in the folder, as its arguments say."""

    def prepare(folder: Path, file: Path) -> tuple[NDArray[Any], NDArray[Any]]:
        net = load_nets(folder).predict_net
        sizes = (net_argument(net, "min_size_test", -1), net_argument(net, "max_size_test", -1))
        resized = resize_shortest_edge(read_image(file, net_argument(net, "input_format", "")), *sizes)
        image = torch.from_numpy(resized.transpose(2, 0, 1).astype(np.float32))
        data, im_info = pad_and_batch(
            [image], net_argument(net, "size_divisibility", -1), net_argument(net, "pixel_mean", [0.0])
        )
        return data.numpy(), im_info.numpy()

    return prepare
