"""Precision over recall as SVG: the original's curves, the converted model's over them, and how far they are apart."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from roastery.evaluation.coco import CurvesByTarget, PrecisionRecall
from roastery.report.files import STEM
from roastery.report.names import METRIC_NAMES, RUNTIME_NAMES, iou_type_name, runtime_name
from roastery.results import Finder

INK, MUTED, GRID, PAPER = "#1b2430", "#5a6675", "#d9dee5", "#ffffff"
# Okabe and Ito's, which the colour-blind tell apart.
METRIC_COLOURS = {"AP50": "#0072b2", "AP75": "#009e73", "AP": "#d55e00"}
"""The colours of a drawing, each used for one thing, so that a page may have others for them."""

_SIZE = (4.6, 4.7)
"""Inches of 72 points: as wide as a telephone's page, so that the writing is read there too."""
_STYLES: Mapping[Finder, dict[str, Any]] = {
    "original": {"linewidth": 5.0, "alpha": 0.35, "solid_capstyle": "butt"},
    "caffe2": {"linewidth": 1.6, "linestyle": (0, (3, 1.5))},
}
_USUAL: Mapping[str, Any] = {"linewidth": 1.6}
_LEAST_POINTS = 1.0
"""Differences are drawn on a scale of at least so many points, or noise would look like a loss."""


@dataclass(frozen=True)
class Curve:
    """A drawing of an IoU type's curves."""

    path: Path
    iou_type: str
    finders: tuple[Finder, ...]


def draw_curves(directory: Path, curves: CurvesByTarget) -> list[Curve]:
    """Draw `report-curves-<IoU type>.svg` in a folder, for each IoU type of the original.

    The same curves give the same bytes.

    Args:
        curves: of "original" and of the converted model by runtime ("torch", "caffe2").
    """
    drawn = []
    for iou_type in curves.get("original", {}):
        of_type = {
            finder: curves[finder][iou_type]
            for finder in ("original", *RUNTIME_NAMES)
            if iou_type in curves.get(finder, {})
        }
        path = directory / f"{STEM}-curves-{iou_type}.svg"
        path.write_text(_svg(iou_type, of_type), encoding="utf-8")
        drawn.append(Curve(path, iou_type, tuple(of_type)))
    return drawn


def _svg(iou_type: str, curves: Mapping[Finder, PrecisionRecall]) -> str:
    # Whatever matplotlibrc this machine has; and no ids by chance.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.hashsalt": iou_type,
                "svg.fonttype": "none",
                "font.size": 9,
                "axes.edgecolor": MUTED,
                "axes.labelcolor": INK,
                "axes.titlecolor": INK,
                "xtick.color": MUTED,
                "ytick.color": MUTED,
                "text.color": INK,
                "grid.color": GRID,
            }
        )
        written = io.StringIO()
        nameless = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        _figure(iou_type, curves).savefig(written, format="svg", metadata=nameless)
    return written.getvalue()


def _figure(iou_type: str, curves: Mapping[Finder, PrecisionRecall]) -> Figure:
    figure = Figure(figsize=_SIZE, facecolor=PAPER, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    original = curves["original"]
    for metric, colour in METRIC_COLOURS.items():
        for finder, curve in curves.items():
            above.plot(curve.recall, curve.precision[metric], color=colour, **_style(finder))
            if finder != "original":
                points = 100 * (np.array(curve.precision[metric]) - np.array(original.precision[metric]))
                below.plot(curve.recall, points, color=colour, **_style(finder))
    above.set_title(f"{iou_type_name(iou_type).capitalize()} detections", loc="left", fontsize=9, fontweight="bold")
    above.set(ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    furthest = max([_LEAST_POINTS, *(float(np.abs(line.get_ydata()).max()) for line in below.lines)])
    below.set(xlabel="recall", ylabel="difference", ylim=(-1.1 * furthest, 1.1 * furthest))
    for axes in (above, below):
        axes.set_facecolor(PAPER)
        axes.grid(linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.align_ylabels()
    figure.legend(handles=_keys(curves), loc="outside upper left", ncols=3, frameon=False, handlelength=2, fontsize=8.5)
    return figure


def _keys(curves: Mapping[Finder, PrecisionRecall]) -> list[Line2D]:
    """Colours are IoU thresholds, each with the original's AP, and line styles are models: a row of each."""
    original = curves["original"]
    metrics = [
        Line2D([], [], color=colour, linewidth=3, label=f"{METRIC_NAMES[metric]} ({_ap(original, metric):.1f})")
        for metric, colour in METRIC_COLOURS.items()
    ]
    models = [Line2D([], [], color=MUTED, label=runtime_name(finder), **_style(finder)) for finder in curves]
    models += [Line2D([], [], linestyle="none", label=" ")] * (len(metrics) - len(models))
    # A legend fills one column after the other.
    return [key for column in zip(metrics, models, strict=True) for key in column]


def _style(finder: Finder) -> Mapping[str, Any]:
    return _STYLES.get(finder, _USUAL)


def _ap(curve: PrecisionRecall, metric: str) -> float:
    return 100 * float(np.mean(curve.precision[metric]))
