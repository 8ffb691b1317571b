"""Parity on a sample: a net's outputs on each image beside those of the detector that it was converted from."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roastery.errors import OperatorError
from roastery.evaluation.parity import compare_detections
from roastery.results import Finder, ParitySummary

Arrays = Mapping[str, NDArray[Any]]


def compare_on_sample(
    run: Callable[[Arrays], Arrays], sample: Iterable[tuple[Arrays, Arrays]], runtime: Finder
) -> ParitySummary:
    """Compare on every image of a sample, and tell all that differs.

    Args:
        run: the net in a runtime: inputs by name to outputs by name.
        sample: for each image the inputs and the outputs that are expected.
        runtime: which runtime that is.

    Raises:
        RuntimeFailed: the runtime died. An operator that refuses its inputs is a difference.
    """
    differences: list[str] = []
    largest: dict[str, float] = {}
    images = 0
    for inputs, expected in sample:
        try:
            report = compare_detections(expected, run(inputs))
        except OperatorError as error:
            differences.append(f"sample {images}: {str(error).strip().splitlines()[0]}")
        else:
            differences += [f"sample {images}: {difference}" for difference in report.differences]
            for name, value in report.largest.items():
                # What is not a number is among the differences; JSON could not hold it.
                finite = value if np.isfinite(value) else 0.0
                largest[name] = max(largest.get(name, 0.0), float(finite))
        images += 1
    return ParitySummary(
        passed=not differences,
        images=images,
        differences=tuple(differences),
        largest={name: largest[name] for name in sorted(largest)},
        runtime=runtime,
    )
