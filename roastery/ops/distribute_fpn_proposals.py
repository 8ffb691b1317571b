"""DistributeFpnProposals: each proposal to the feature level that fits its size."""

import math

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from roastery.errors import OperatorError
from roastery.ops.definition import new_count, operator
from roastery.ops.lowering import Lowering, f32, i64, known_size


def _output_count(*, roi_max_level: int, roi_min_level: int, **_: object) -> int:
    return roi_max_level - roi_min_level + 2


def _fake(rois: Tensor, *, roi_max_level: int = 5, roi_min_level: int = 2, **_: object) -> tuple[Tensor, ...]:
    # Where there is a RoI, there is one on a level: on which makes no difference.
    counts = [new_count(), *(new_count(part=True) for _ in range(roi_min_level, roi_max_level))]
    levels = [rois.new_empty(count, 5) for count in counts]
    return *levels, rois.new_empty(rois.shape[0], dtype=torch.int32)


def _lower(
    lowering: Lowering,
    rois: ir.Value,
    *,
    roi_canonical_scale: int,
    roi_canonical_level: int,
    roi_max_level: int,
    roi_min_level: int,
    legacy_plus_one: bool,
) -> tuple[ir.Value, ...]:
    if known_size("DistributeFpnProposals", "rois", rois, 1) == 4:
        rois = lowering("Pad", rois, i64([1, 0]), f32(0.0), i64([1]))
    sides = lowering("Sub", lowering.columns(rois, 3, 5), lowering.columns(rois, 1, 3))
    if legacy_plus_one:
        sides = lowering("Add", sides, f32(1.0))
    scales = lowering("Sqrt", lowering("ReduceProd", sides, i64([1]), keepdims=0))
    scales = lowering("Add", lowering("Div", scales, f32(roi_canonical_scale)), f32(1e-6))
    logarithms = lowering("Div", lowering("Log", scales), f32(math.log(2)))
    levels = lowering("Floor", lowering("Add", logarithms, f32(roi_canonical_level)))
    levels = lowering("Clip", levels, f32(roi_min_level), f32(roi_max_level))
    outputs, rows = [], []
    for level in range(roi_min_level, roi_max_level + 1):
        rows.append(lowering.flat(lowering("NonZero", lowering("Equal", levels, f32(level)))))
        outputs.append(lowering("Gather", rois, rows[-1], axis=0))
    count = lowering.cast(lowering("Squeeze", lowering.size(rois, 0)), ir.DataType.INT32)
    places = lowering("Range", np.int32(0), count, np.int32(1))
    return *outputs, lowering("ScatterElements", places, lowering.concat(rows), places, axis=0)


@operator(
    "DistributeFpnProposals", outputs=("rois_idx_restore_int32",), fake=_fake, lower=_lower, output_count=_output_count
)
def distribute_fpn_proposals(
    rois: Tensor,
    *,
    roi_canonical_scale: int = 224,
    roi_canonical_level: int = 4,
    roi_max_level: int = 5,
    roi_min_level: int = 2,
    legacy_plus_one: bool = True,
) -> tuple[Tensor, ...]:
    """The proposals of each level, and the way back.

    The level is floor(roi_canonical_level + log2(sqrt(area) / roi_canonical_scale + 1e-6)), held between the least and
    the highest.

    Args:
        rois: (n, 5) float32: image index, xyxy; or (n, 4), which are of image 0.

    Returns:
        The rois (n_i, 5) float32 of each level from `roi_min_level` up, in their order; then (n,) int32, of which
        element i says where among the levels' rois, one after another, the i-th came to lie.

    Raises:
        OperatorError: a proposal of negative area, levels in the wrong order.

    Source: caffe2/operators/collect_and_distribute_fpn_rpn_proposals_op.cc, PyTorch 1.10.
    """
    if roi_max_level < roi_min_level:
        raise OperatorError(f"DistributeFpnProposals: roi_max_level {roi_max_level} < roi_min_level {roi_min_level}")
    if rois.dim() != 2 or rois.shape[1] not in (4, 5):
        raise OperatorError(f"DistributeFpnProposals: rois {tuple(rois.shape)} must be (n, 4) or (n, 5)")
    sides = rois[:, -2:] - rois[:, -4:-2] + int(legacy_plus_one)
    areas = sides[:, 0] * sides[:, 1]
    if not bool((areas >= 0).all()):
        raise OperatorError("DistributeFpnProposals: a proposal has a negative area")
    logarithms = (areas.sqrt() / roi_canonical_scale + 1e-6).log() / math.log(2)
    levels = (roi_canonical_level + logarithms).floor().clamp(roi_min_level, roi_max_level).long() - roi_min_level
    order = torch.argsort(levels, stable=True)
    counts = torch.bincount(levels, minlength=roi_max_level - roi_min_level + 1).tolist()
    if rois.shape[1] == 4:
        rois = torch.nn.functional.pad(rois, (1, 0))
    # Copies, because outputs of one operator must not share their memory.
    outputs = [rois.index_select(0, rows) for rows in torch.split(order, counts)]
    restore = torch.empty(len(order), dtype=torch.int32)
    restore[order] = torch.arange(len(order), dtype=torch.int32)
    return *outputs, restore
