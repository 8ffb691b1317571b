"""detectron2's interface to a conversion, for a model in hand."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from torch import nn
from torch.export import ExportedProgram
from yacs.config import CfgNode

from roastery.caffe2.convert import convert
from roastery.caffe2.model import Caffe2Model
from roastery.data.preprocess import net_inputs
from roastery.data.sampling import in_batches
from roastery.detectors.detector import Detector, detect_eagerly
from roastery.errors import GateFailed
from roastery.evaluation.sample_parity import Arrays, compare_on_sample
from roastery.export.onnx import export_onnx
from roastery.export.trace import Traced, trace
from roastery.sources.live.describe import roastery_config
from roastery.sources.live.slots import detector_of
from roastery.sources.live.twin import frozen_twin
from roastery.sources.native import load_detector, net_arguments
from roastery.weights.fetch import local_weights


class Caffe2Tracer:
    """Trace a detector and export it, as detectron2's class of this name does.

    Args:
        cfg: the model's config: of a live model detectron2's own CfgNode, of a checkpoint what
            `roastery.config.load_config` gives.
        model: a live detectron2 model, which stays as it is, in its mode and on its device; or a checkpoint (.pkl,
            .pth, .safetensors) or an address to fetch it from, of which nothing is executed.
        batch: how many images the net takes at once.
        decode: whether a RetinaNet's net gives detections instead of the original's raw maps.
        inputs: sample inputs, [{"image": (3, h, w) BGR tensor}]. They are not needed to trace, and need not have
            detections. `export_caffe2` checks on them that the converted net gives what the detector gives.

    Raises:
        UnsupportedModule: a live model with a module that a net has no operators for, or that overrides what they do.

    Examples:
        >>> model = Caffe2Tracer(cfg, model, inputs).export_caffe2()  # doctest: +SKIP
        >>> model.save_protobuf("out")                                # doctest: +SKIP
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module | str | Path,
        inputs: Sequence[Mapping[str, Any]] = (),
        *,
        batch: int = 1,
        decode: bool = False,
    ) -> None:
        self.detector: Detector
        if isinstance(model, nn.Module):
            twin = frozen_twin(model)
            self.detector = detector_of(twin, decode)
            self.config = roastery_config(cfg, twin, self.detector)
        else:
            self.config = cfg
            self.detector = load_detector(cfg, local_weights(model), decode=decode)
        self.batch = batch
        self.inputs = list(inputs)

    def export_program(self) -> ExportedProgram:
        """The detector as a torch.export program of its inputs: `data` and `im_info`, perhaps `rois`."""
        return self._trace().program

    def export_onnx(self) -> onnx.ModelProto:
        """The detector as ONNX, with Caffe2's detection operators in their own domain."""
        return ir.to_proto(self._onnx)

    def export_caffe2(self) -> Caffe2Model:
        """The detector as a Caffe2 model.

        Raises:
            UnsupportedOperator: an operator has no Caffe2 form.
            GateFailed: on a sample input the net differs from the detector.
        """
        # Of a copy, which shares the weights: the passes change the graph in place.
        model = Caffe2Model(convert(self._onnx.clone()))
        summary = compare_on_sample(lambda inputs: model.run(**inputs), self._sample(), "torch")
        if not summary.passed:
            raise GateFailed(f"the net differs from the detector: {'; '.join(summary.differences)}")
        return model

    def _trace(self) -> Traced:
        return trace(self.detector, net_arguments(self.config, self.detector), self.batch)

    @cached_property
    def _onnx(self) -> ir.Model:
        # A program can be exported once: its shapes' symbols are used up by it (torch 2.13). So it is not kept.
        return export_onnx(self._trace())

    def _sample(self) -> Iterator[tuple[Arrays, Arrays]]:
        for batch in in_batches(self.inputs, self.batch):
            inputs = net_inputs(batch, self.detector.size_divisibility, self.config.MODEL.PIXEL_MEAN)
            yield inputs, detect_eagerly(self.detector, inputs)
