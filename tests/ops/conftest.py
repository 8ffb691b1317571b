"""What the operators' tests share: random boxes, and genuine Caffe2 for a batch of cases."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

RandomBoxes = Callable[..., NDArray[np.float32]]


@pytest.fixture(scope="session")
def random_boxes() -> RandomBoxes:
    """`random_boxes(generator, count, height, width)`: (count, 4) float32 xyxy that overlap often."""

    def make(generator: np.random.Generator, count: int, height: float = 90, width: float = 120) -> NDArray[np.float32]:
        centres = generator.uniform((0, 0), (width, height), (count, 2))
        sides = np.exp(generator.uniform(np.log(2), np.log(60), (count, 2)))
        boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
        return boxes.clip(0, (width, height, width, height)).astype(np.float32)

    return make
