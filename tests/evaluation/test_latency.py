import math

import pytest

from roastery.evaluation.latency import summarise


def test_median_and_90th_percentile():
    found = summarise([5.0, 1.0, 2.0, 3.0, 4.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0])
    assert (found.median_ms, found.p90_ms, found.images) == (6.0, 10.0, 11)


def test_one_call_is_its_own_summary():
    assert summarise([3.5]).p90_ms == 3.5


@pytest.mark.parametrize("milliseconds", [[], [1.0, math.nan], [-1.0], [math.inf]])
def test_what_is_no_measurement_is_refused(milliseconds):
    with pytest.raises(ValueError, match="latenc"):
        summarise(milliseconds)
