"""Two sets of arrays compared by name, shape and value, detections row by row; all that differs is said at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roastery.evaluation.matching import match, pairwise, relative

Array = NDArray[Any]
Measure = Callable[[Array, Array], float]
"""How far two rows are apart, in the unit of their bound."""


@dataclass
class Comparison:
    """What is known so far: a sentence for each difference, and the largest difference by name."""

    differences: list[str] = field(default_factory=list)
    largest: dict[str, float] = field(default_factory=dict)

    def say(self, sentence: str) -> None:
        self.differences.append(sentence)

    def judge(self, name: str, place: str, found: Sequence[float], bound: float) -> None:
        """Keep the largest of the differences found, and say so if any is beyond the bound or no number."""
        for difference in found:
            if np.isfinite(difference):
                self.largest[name] = max(self.largest.get(name, 0.0), difference)
        beyond = [difference for difference in found if not difference <= bound]
        if beyond:
            how_many = f"{len(beyond)} of {len(found)} differ" if place else "differs"
            where = f"{name}, {place}" if place else name
            self.say(f"{where}: {how_many} by up to {max(beyond):.3g}, allowed {bound:.3g}")


@dataclass(frozen=True)
class Rows:
    """Detections of one side: (n,) image indices, (n,) classes, and fields of n rows each."""

    images: Array
    classes: Array
    fields: Mapping[str, Array]


def compare_names(kind: str, expected: Mapping[str, Any], actual: Mapping[str, Any], comparison: Comparison) -> None:
    for name in expected:
        if name not in actual:
            comparison.say(f"{kind} {name} is missing")
    for name in actual:
        if name not in expected:
            comparison.say(f"{kind} {name} is surplus")


def compare_lengths(
    names: Sequence[str], expected: Mapping[str, Array], actual: Mapping[str, Array], comparison: Comparison
) -> bool:
    """Say which detections have no common length, and whether there are as many on both sides.

    Returns:
        True if all that `names` names can be compared row by row.
    """
    agree = True
    counts = []
    for side, arrays in (("expected", expected), ("given", actual)):
        lengths = [arrays[name].shape[0] if arrays[name].ndim else -1 for name in names]
        if len(set(lengths)) > 1 or -1 in lengths:
            listed = ", ".join(f"{name} {arrays[name].shape}" for name in names)
            comparison.say(f"detections {side} have no common length: {listed}")
            agree = False
        counts.append(lengths[0])
    if agree and counts[0] != counts[1]:
        comparison.say(f"{counts[0]} detections expected, {counts[1]} given")
    return agree


def compare_shapes(
    names: Sequence[str],
    expected: Mapping[str, Array],
    actual: Mapping[str, Array],
    comparison: Comparison,
    *,
    of_rows: bool,
) -> bool:
    """Say which shapes differ (`of_rows`: apart from the first axis); True if none does."""
    agree = True
    for name in names:
        shapes = [arrays[name].shape[1:] if of_rows else arrays[name].shape for arrays in (expected, actual)]
        if shapes[0] != shapes[1]:
            comparison.say(f"{name}: shape {expected[name].shape} expected, {actual[name].shape} given")
            agree = False
    return agree


def refuse_not_finite(
    names: Sequence[str], expected: Mapping[str, Array], actual: Mapping[str, Array], comparison: Comparison
) -> None:
    """Say where there is NaN or infinity, on either side: two NaN are no agreement."""
    for name in names:
        for side, arrays in (("expected", expected), ("given", actual)):
            bad = int(np.count_nonzero(~np.isfinite(arrays[name])))
            if bad:
                comparison.say(f"{name}: {bad} numbers {side} are NaN or infinite")


def compare_rows(
    expected: Rows,
    actual: Rows,
    near: Sequence[str],
    measures: Mapping[str, Measure],
    bounds: Mapping[str, float],
    comparison: Comparison,
) -> None:
    """Match the detections of each image and class one to one, and judge the pairs.

    Args:
        near: fields whose largest absolute difference is cheap to find for every pair.
        measures: for the other fields, the difference of two rows.
        bounds: the largest difference allowed, for the fields of both kinds.
    """
    for group in sorted({*_groups(expected), *_groups(actual)}):
        left, right = _members(expected, group), _members(actual, group)
        if len(left) != len(right):
            comparison.say(f"{_place(group)}: {len(left)} detections expected, {len(right)} given")
            continue
        differences = {name: pairwise(expected.fields[name][left], actual.fields[name][right]) for name in near}
        worst = np.max([relative(differences[name], bounds[name]) for name in near], axis=0)

        def further(i: int, j: int, left: Array = left, right: Array = right) -> float:
            rows = [(expected.fields[name][left[i]], actual.fields[name][right[j]]) for name in measures]
            found = [measure(*pair) for measure, pair in zip(measures.values(), rows, strict=True)]
            return max(float(relative(value, bounds[name])) for value, name in zip(found, measures, strict=True))

        pairs = match(worst, further if measures else None)
        matched = list(zip(pairs.expected, pairs.actual, strict=True))
        for name in near:
            comparison.judge(name, _place(group), [float(differences[name][i, j]) for i, j in matched], bounds[name])
        for name, measure in measures.items():
            found = [measure(expected.fields[name][left[i]], actual.fields[name][right[j]]) for i, j in matched]
            comparison.judge(name, _place(group), found, bounds[name])


def map_difference(expected: Array, actual: Array, scale: float) -> float:
    """The largest absolute difference divided by `scale`."""
    with np.errstate(invalid="ignore"):  # infinity is refused elsewhere
        difference = largest_value(expected.astype(np.float64) - actual.astype(np.float64))
    return difference / scale if difference != 0 else 0.0


def map_scale(expected: Array, actual: Array) -> float:
    """The largest absolute value in either array."""
    return max(largest_value(expected), largest_value(actual))


def largest_value(values: Array) -> float:
    return float(np.abs(values.astype(np.float64)).max(initial=0.0))


def mask_distance(expected: Array, actual: Array) -> float:
    """1 - IoU of two binary masks; two empty ones are equal."""
    expected, actual = expected.astype(bool), actual.astype(bool)
    union = np.count_nonzero(expected | actual)
    return 1.0 - np.count_nonzero(expected & actual) / union if union else 0.0


def keypoint_distance(expected: Array, actual: Array) -> float:
    """The largest difference of a coordinate of two sets of keypoints (K, 3): x, y, score."""
    return largest_value(expected[:, :2].astype(np.float64) - actual[:, :2].astype(np.float64))


def _groups(rows: Rows) -> set[tuple[int, float]]:
    return {(int(image), float(label)) for image, label in zip(rows.images, rows.classes, strict=True)}


def _members(rows: Rows, group: tuple[int, float]) -> Array:
    return np.nonzero((rows.images == group[0]) & (rows.classes == group[1]))[0]


def _place(group: tuple[int, float]) -> str:
    image, label = group
    return f"class {label:g}" if image == 0 else f"image {image}, class {label:g}"
