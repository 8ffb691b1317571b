"""Where Caffe2's proposals are made to follow detectron2's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from roastery.detectors.rpn import _at_least_above


def test_a_box_without_width_is_below_the_bound_for_size_zero() -> None:
    # Caffe2 keeps a side >= the bound, detectron2 a side > the size.
    assert np.float32(_at_least_above(0.0)) > 0


@given(st.floats(0, 1000, width=32), st.floats(0, 1000, width=32))
def test_a_side_passes_caffe2s_test_exactly_where_it_passes_detectron2s(size: float, side: float) -> None:
    tiny = float(np.finfo(np.float32).tiny)
    if 0 < side < tiny:  # Kernels may flush denormals: neither is promised.
        return
    assert (np.float32(side) >= np.float32(_at_least_above(size))) == (side > size)
