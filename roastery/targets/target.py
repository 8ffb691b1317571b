"""What a target is: the one interface that its folder implements.

Stages, gate, report, registry and flows ask it alone.

A target takes `model.onnx`, the exported ONNX with Caffe2's operators in it, and makes a model of it that some runtime
runs. It brings no trace and no operator of its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from roastery.digest import JSON
from roastery.results import ArtifactRef, LayerError
from roastery.spec import GateSpec, ModelSpec, PipelineConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from yacs.config import CfgNode

NET_INPUTS = ("data", "im_info", "rois")
"""The names that a net's inputs have, of whatever target it is."""
Arrays = Mapping[str, "NDArray[Any]"]


@dataclass(frozen=True)
class Made:
    """What a conversion says of itself.

    Attributes:
        operators: type to count.
        warnings: what could not be done and was done without.
        layers: of a target that is not exact, the worst layers first.
    """

    operators: Mapping[str, int]
    warnings: Sequence[str] = ()
    layers: Sequence[LayerError] = ()


@dataclass(frozen=True)
class Description:
    """What a converted model's files say of it, without its being run.

    Attributes:
        batch: how many images it takes at once.
        operators: type to count.
        inputs, outputs: their names.
        arguments: the original's net arguments, as `size_divisibility`.
    """

    meta_architecture: str
    batch: int
    operators: Mapping[str, int]
    inputs: Sequence[str]
    outputs: Sequence[str]
    arguments: Mapping[str, Any]


class ConvertedModel(Protocol):
    """A converted model that is called as the detectron2 model was; see `roastery.caffe2.model.Caffe2Model`."""

    target: str

    @property
    def batch(self) -> int: ...

    def save(self, directory: Path) -> None:
        """Write its files."""
        ...

    def run(
        self, data: "NDArray[Any]", im_info: "NDArray[Any]", rois: "NDArray[Any] | None" = None
    ) -> "dict[str, NDArray[Any]]":
        """The raw outputs by name, under the original's names."""
        ...

    def preparation(
        self, min_size: int | None = None, max_size: int | None = None, format: str | None = None
    ) -> "CfgNode":
        """How an image is prepared for it; see `roastery.prediction.preparation`."""
        ...

    def __call__(self, inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]: ...

    def close(self) -> None: ...


class Target(ABC):
    """A kind of model that a detector is converted to.

    Attributes:
        name: as `targets:` has it. It is its folder's name, with dashes for underscores.
        title: what a person reads: "The <title> model beside its original".
        suffix: of the registered name: `<model><suffix>`.
        files: what a converted model is loaded from, within its folder.
        graph: those of them that `describe` reads.
        extras: what may lie beside it and is filed with it. `model.onnx` is the exported ONNX, unless it is in `files`.
        runtimes: name to title of what runs it, the most genuine last: its word makes a version `validated`. A name
            may be of one target alone.
        needs: distributions that running a model takes, beside Roastery's own.
        packages: distributions whose versions decide what is made.
        options: the names that its `settings` may have.
        usual_gate: how it is judged where nobody says it.
        exact: whether its outputs must agree with the detector's on the sample.
    """

    name: str
    title: str
    suffix: str
    files: tuple[str, ...]
    graph: tuple[str, ...]
    extras: tuple[str, ...] = ()
    runtimes: Mapping[str, str]
    needs: tuple[str, ...]
    packages: tuple[str, ...]
    options: tuple[str, ...] = ()
    exact: bool = True
    usual_gate: GateSpec = GateSpec()

    @abstractmethod
    def chosen(self, model: ModelSpec) -> tuple[str, ...]:
        """The runtimes that judge a model, the most genuine last.

        Raises:
            UserError: what is asked for is not installed.
        """

    @abstractmethod
    def convert(self, onnx: Path, directory: Path, sample: "Sample", settings: Mapping[str, JSON]) -> Made:
        """Write the files of a converted model, the same ones for the same inputs.

        Args:
            onnx: `model.onnx`; it is hostile until it is read.
            directory: where to.
            sample: the sampled images, for what must be calibrated.
            settings: as `settings` gave them.

        Raises:
            ModelFileError: an ONNX model that cannot be read.
            UnsupportedOperator: an operator without a form in this target.
        """

    @abstractmethod
    def load(self, directory: Path, runtime: str) -> ConvertedModel:
        """A converted model from its folder, which is hostile until it is read.

        Raises:
            ModelFileError: a file that is missing or damaged.
        """

    @abstractmethod
    def describe(self, directory: Path) -> Description:
        """What its files say of it.

        Raises:
            ModelFileError: a file that is missing or damaged.
        """

    def identity(self, runtime: str | None) -> JSON:
        """What decides how a runtime (or, of None, the conversion) behaves beside sources and `packages`."""
        return None

    def settings(self, model: ModelSpec) -> dict[str, JSON]:
        """What of a registered model's spec decides how it is converted."""
        return {}

    def gate(self, model: ModelSpec, pipeline: PipelineConfig) -> GateSpec:
        """How it is judged."""
        return model.gate or pipeline.gate

    def registered(self, model: str) -> str:
        """Its name in the registry."""
        return model + self.suffix

    @property
    def kept(self) -> frozenset[str]:
        """The files that are filed in the registry."""
        return frozenset({*self.files, *self.extras})

    def origins(self, converted: ArtifactRef, onnx: ArtifactRef) -> dict[str, ArtifactRef]:
        """The artifact that each file which is filed comes from.

        Args:
            converted: what the conversion made.
            onnx: holds the exported ONNX.
        """
        exported = {name: onnx for name in onnx.files if name in self.extras}
        return exported | {name: converted for name in converted.files if name in self.kept}


class Sample(Protocol):
    """The sampled images, read anew each time they are asked for."""

    def __iter__(self) -> Iterator[Arrays]:
        """`data` (N, 3, H, W) and `im_info` (N, 3) of each batch, and `rois` where the model takes proposals."""
        ...
