"""A model's one file, `model.onnx`: standard ONNX with its weights inside."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import onnx
import onnx_ir as ir

from roastery.errors import ModelFileError
from roastery.graph_drawing import DrawnGraph, DrawnOperator
from roastery.metadata import NET_ARGUMENTS_KEY, OPERATOR_KEY
from roastery.net_arguments import NetArguments, parse_arguments
from roastery.onnx_messages import ONNX_ERRORS, first_line
from roastery.onnx_runtime.accepted import refused
from roastery.regular_file import require_regular
from roastery.whole_file import write_whole

MODEL_FILE = "model.onnx"

# What no message of protobuf can hold.
_MOST_BYTES = 2**31 - 1


@dataclass(frozen=True)
class StandardModel:
    """A checked model of ONNX's own operators.

    Attributes:
        content: the file's bytes.
        arguments: what the net says of itself.
        input_names: what it takes, in order; parameters are none.
        output_names: what it gives, in order.
    """

    content: bytes
    arguments: NetArguments
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    @cached_property
    def graph(self) -> DrawnGraph:
        """Its operators, without the weights."""
        found = onnx.load_model_from_string(self.content).graph
        return DrawnGraph(self.input_names, [_drawn(node) for node in found.node], self.output_names)

    @cached_property
    def drawing(self) -> DrawnGraph:
        """The graph for a person: what was lowered from one operator is one again, a dozen nodes or a hundred."""
        found = onnx.load_model_from_string(self.content).graph
        operators: list[DrawnOperator] = []
        for name, nodes in groupby(found.node, _lowered_from):
            if not name:
                operators += map(_drawn, nodes)
                continue
            members = list(nodes)
            kind = name.rpartition("/")[2].rpartition("_")[0]
            written = {value for each in members for value in each.output}
            read = dict.fromkeys(value for each in members for value in each.input if value not in written)
            operators.append(DrawnOperator(kind, name, list(read), sorted(written)))
        return DrawnGraph(self.input_names, operators, self.output_names)


def _drawn(node: onnx.NodeProto) -> DrawnOperator:
    # Lists of our own: protobuf's would keep the whole message, weights and all.
    return DrawnOperator(node.op_type, node.name, list(node.input), list(node.output))


def _lowered_from(node: onnx.NodeProto) -> str:
    return next((entry.value for entry in node.metadata_props if entry.key == OPERATOR_KEY), "")


def to_standard_model(model: ir.Model) -> StandardModel:
    """A model of `lower.standard_onnx` as a file has it: equal models give equal bytes.

    Raises:
        ModelFileError: the checker, or strict shape inference, refuses it.
    """
    content = ir.to_proto(model).SerializeToString(deterministic=True)
    checked = checked_model("the lowered model", content)
    try:
        # The checker infers shapes too, but follows no sizes that are computed.
        onnx.shape_inference.infer_shapes(content, check_type=True, strict_mode=True, data_prop=True)
    except ONNX_ERRORS as error:
        raise ModelFileError(f"the lowered model: {first_line(error)}; convert the model again") from error
    return checked


def load_model(directory: Path) -> StandardModel:
    """Read and check `model.onnx`.

    Raises:
        ModelFileError: no such file; not ONNX, or refused by onnx.checker; weights outside of the file; an operator
            that no converted model has.
    """
    file = directory / MODEL_FILE
    try:
        require_regular(file)
        size = file.stat().st_size
        if size > _MOST_BYTES:
            raise ModelFileError(f"{file}: {size} bytes are more than an ONNX file can have; convert the model again")
        content = file.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{file}: {error.strerror or error}; a converted model is a folder with it") from error
    return checked_model(str(file), content)


def save_model(model: StandardModel, directory: Path) -> None:
    """Write `model.onnx`. The folder is made where it is missing; the file is there whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    write_whole(directory / MODEL_FILE, model.content)


def checked_model(place: str, content: bytes) -> StandardModel:
    """A model from the bytes of its file.

    Args:
        place: what an error calls it.

    Raises:
        ModelFileError: not ONNX; the checker refuses it; an operator that no converted
            model has.
    """
    try:
        proto = onnx.load_model_from_string(content)
        for reason in refused(proto):
            raise ModelFileError(f"{place}: {reason}; convert the model again")
        onnx.checker.check_model(content, full_check=True)
    except ONNX_ERRORS as error:
        raise ModelFileError(
            f"{place}: not a valid ONNX model ({first_line(error)}); convert the model again"
        ) from error
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    parameters = {tensor.name for tensor in proto.graph.initializer}
    return StandardModel(
        content,
        parse_arguments(metadata.get(NET_ARGUMENTS_KEY, "{}")),
        tuple(_names(proto.graph.input, parameters)),
        tuple(_names(proto.graph.output, set())),
    )


def _names(values: Iterable[onnx.ValueInfoProto], without: set[str]) -> Iterator[str]:
    return (value.name for value in values if value.name not in without)
