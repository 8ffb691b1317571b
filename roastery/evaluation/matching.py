"""Matching one to one, whatever the order."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

FURTHEST = 1e9


@dataclass(frozen=True)
class Pairs:
    """A one-to-one matching: row `expected[k]` belongs with row `actual[k]`; both are (n,) int64."""

    expected: NDArray[np.int64]
    actual: NDArray[np.int64]


def match(near: NDArray[np.float64], further: Callable[[int, int], float] | None = None) -> Pairs:
    """Match n rows with n rows: as few pairs as possible beyond their tolerance, then all as closely as possible.

    So if any matching keeps all pairs within, one is found: that does not depend on the order of the rows.

    Args:
        near: (n, n), how far each expected row is from each actual one by what is cheap to compare; 1.0 is the most
            that is allowed, NaN is beyond it.
        further: the same for what is costly to compare; asked only where `near` allows the pair.
    """
    deviations = np.where(np.isnan(near), FURTHEST, np.minimum(near, FURTHEST))
    if further is not None:
        for row, column in zip(*np.nonzero(deviations <= 1.0), strict=True):
            costly = further(int(row), int(column))
            deviations[row, column] = max(deviations[row, column], FURTHEST if np.isnan(costly) else costly)
    # A pair beyond its tolerance costs more than all pairs within theirs together; by how much only breaks ties.
    beyond = np.minimum(deviations, FURTHEST)
    costs = np.where(deviations <= 1.0, deviations, len(near) + 2 + beyond / (1.0 + beyond))
    expected, actual = linear_sum_assignment(costs)
    return Pairs(expected, actual)


def pairwise(expected: NDArray[Any], actual: NDArray[Any]) -> NDArray[np.float64]:
    """The largest absolute difference of each pair of rows: (n, ...) and (m, ...) to (n, m)."""
    left, right = (
        rows.reshape(len(rows), -1).astype(np.float64) if len(rows) else np.zeros((0, 1)) for rows in (expected, actual)
    )
    with np.errstate(invalid="ignore"):  # infinity minus infinity is NaN, which is beyond every tolerance
        difference: NDArray[np.float64] = np.abs(left[:, None, :] - right[None, :, :]).max(axis=2, initial=0.0)
    return difference


def relative(difference: Any, bound: float) -> Any:
    """The difference divided by its bound; with a bound of 0 only equality is within it."""
    return difference / bound if bound > 0 else np.where(np.asarray(difference) > 0, np.inf, 0.0)
