import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from roastery.evaluation.matching import match, pairwise


@given(hnp.arrays(np.float64, st.integers(1, 5).map(lambda n: (n, n)), elements=st.floats(0, 3)))
def test_as_few_pairs_as_possible_are_beyond_their_tolerance(deviations):
    # Source: all permutations.
    count = len(deviations)
    fewest = min(
        sum(deviations[row, column] > 1.0 for row, column in enumerate(permutation))
        for permutation in itertools.permutations(range(count))
    )
    pairs = match(deviations)
    assert sorted(pairs.expected) == sorted(pairs.actual) == list(range(count))
    assert (deviations[pairs.expected, pairs.actual] > 1.0).sum() == fewest


def test_what_is_costly_is_asked_only_for_pairs_that_are_near():
    asked = []

    def further(row, column):
        asked.append((row, column))
        return 5.0 if row == column else 0.0

    near = np.array([[0.5, 0.5, 9.0], [0.5, 0.5, 9.0], [9.0, 9.0, 0.1]])
    pairs = match(near, further)
    assert pairs.actual.tolist() == [1, 0, 2]
    assert asked == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)]


def test_nan_is_beyond_every_tolerance():
    assert match(np.array([[np.nan, 0.1], [0.1, np.nan]])).actual.tolist() == [1, 0]
    assert match(np.zeros((2, 2)), lambda row, column: np.nan if row == column else 0.0).actual.tolist() == [1, 0]


def test_nothing_is_matched_with_nothing():
    assert len(match(np.zeros((0, 0))).expected) == 0


def test_pairwise_is_the_largest_difference_of_two_rows():
    found = pairwise(np.array([[0.0, 1.0], [5.0, 5.0]]), np.array([[0.0, 3.0]]))
    assert found.tolist() == [[2.0], [5.0]]
