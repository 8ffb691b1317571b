"""Latency: milliseconds of many calls to a few figures."""

from collections.abc import Sequence

import numpy as np

from roastery.results import LatencySummary


def summarise(milliseconds: Sequence[float]) -> LatencySummary:
    """Median, 90th percentile (linear between the nearest two) and count.

    Raises:
        ValueError: nothing was measured, or something that is no time.
    """
    values = np.asarray(milliseconds, dtype=np.float64)
    if values.size == 0:
        raise ValueError("no latency was measured")
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise ValueError(f"latencies must be numbers of at least 0, not {milliseconds!r}")
    return LatencySummary(
        median_ms=float(np.median(values)), p90_ms=float(np.percentile(values, 90)), images=int(values.size)
    )
