"""What a report tells beyond the evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from roastery.evaluation.gate import GatePolicy
from roastery.results import LayerError, ModelSource, StageTiming
from roastery.spec import ExportSpec


@dataclass(frozen=True)
class ReportFacts:
    """What a report tells beyond the evaluation. What is left empty is left out.

    Attributes:
        target: what the model was converted to.
        gate: that the evaluation was judged by.
        operators: type to count, of the predict net or whatever the target's graph is.
        layers: the worst layers of a target that rounds.
        sizes: bytes of each file; `digests`: sha256 of each.
        sources: what the conversion was made from, name to digest: checkpoint, config.
        versions: package to version.
        weights: the checkpoint's path or name, of which the name is told.
        export: what kind of net was made.
        source: how the model is built, where that takes more than its config.
    """

    target: str = "caffe2"
    meta_architecture: str = ""
    source: ModelSource | None = None
    gate: GatePolicy = field(default_factory=GatePolicy)
    operators: Mapping[str, int] = field(default_factory=dict)
    layers: Sequence[LayerError] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    timings: Sequence[StageTiming] = ()
    weights: str = ""
    export: ExportSpec = field(default_factory=ExportSpec)
