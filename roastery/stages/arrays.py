"""Arrays of the sampled images in one file: `<k>/<name>` for image k. No pickle is written or read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sample = Mapping[str, NDArray[Any]]


def save_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write the arrays of each sample, by name, as an .npz. Equal arrays give equal bytes."""
    arrays = {f"{k}/{name}": array for k, sample in enumerate(samples) for name, array in sorted(sample.items())}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_samples(path: Path) -> list[dict[str, NDArray[Any]]]:
    """The samples in their order, as `save_samples` wrote them."""
    samples: dict[int, dict[str, NDArray[Any]]] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            k, _, name = key.partition("/")
            samples.setdefault(int(k), {})[name] = arrays[key]
    return [samples[k] for k in sorted(samples)]
