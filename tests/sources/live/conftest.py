"""Live detectron2 models of the demo zoo, where detectron2 is installed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from roastery.results import ModelSource
from roastery.sources.source import Loaded, Source, open_source

SIZE = (128, 192)


@pytest.fixture
def live() -> Callable[..., tuple[Source, Loaded]]:
    """`live(folder, *overrides)`: a demo model built by detectron2, with its weights."""

    def load(folder: Path, *overrides: str, **settings: Any) -> tuple[Source, Loaded]:
        source = open_source(ModelSource(kind="detectron2", config=str(folder / "config.yaml"), overrides=overrides))
        return source, source.load(folder / "model_final.pkl", **settings)

    return load


@pytest.fixture
def net_inputs_of_noise() -> dict[str, NDArray[Any]]:
    """What a net takes: an image of noise in which the demo models see much."""
    data = np.random.default_rng(0).uniform(0, 255, (1, 3, *SIZE)).astype(np.float32)
    return {"data": data, "im_info": np.array([[*SIZE, 1.0]], np.float32)}
