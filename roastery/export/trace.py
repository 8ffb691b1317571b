"""A detector traced to one graph with torch.export, for any image size.

Saved programs repeat to the byte: they hold neither the sample that they were traced with nor the paths of the sources.
Of a user's own sources they say the line that called an operator (`places`).
"""

import inspect
import json
import linecache
import operator
import os
import traceback
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.overrides import TorchFunctionMode
from torch.utils._sympy.symbol import SymT, symbol_is_type
from torch.utils._sympy.value_ranges import ValueRanges

import roastery.ops  # noqa: F401  (a saved program finds its operators only when they are registered)
from roastery.cycles import cycles_left_alone
from roastery.detectors.detector import ROIS, Detector, NetArgument
from roastery.errors import ModelFileError, UnsupportedOperator
from roastery.export.program_check import refuse_what_executes
from roastery.metadata import BATCH_ARGUMENT
from roastery.ops.definition import some_of_each
from roastery.places import called_from, place_of

_INTERFACE_FILE = "roastery_interface.json"
# About what a saved program takes beside its weights.
_GRAPH_BYTES = 4 * 2**20
# The size traced with, in units of the divisibility: neither 0 nor 1, which torch.export would take for constants, and
# unequal, so that height and width are not taken for one another.
TRACED_SIZE = (4, 6)
# Where there is no divisibility: the coarsest map has some pixels then.
_USUAL_STRIDE = 32
_TORCH = str(Path(torch.__file__).parent)
# What torch.export raises where a branch depends on values, and where it cannot follow for another reason.
_OF_THE_DATA = (GuardOnDataDependentSymNode, DataDependentOutputException, DynamicOutputShapeException)
_UNTRACEABLE = (*_OF_THE_DATA, torch._dynamo.exc.TorchDynamoException)
_TRACED_ROIS = 5


@dataclass(frozen=True)
class Traced:
    """A traced detector and what its net must say of itself.

    `program` takes what `input_names` names, `data` (N, 3, H, W) and `im_info` (N, 3) first; `output_names` names its
    outputs in order; `net_arguments` become the NetDef's.
    """

    program: ExportedProgram
    output_names: tuple[str, ...]
    net_arguments: dict[str, NetArgument]

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(str(name) for name in self.program.graph_signature.user_inputs)


@cycles_left_alone()
def trace(detector: Detector, net_arguments: dict[str, NetArgument], batch: int = 1) -> Traced:
    """Trace a detector, for a fixed batch and any height and width that are multiples of its size divisibility.

    No image is needed, and none with detections: sizes are symbols, counts of detections too.

    Raises:
        UnsupportedOperator: a module whose control flow depends on the image, or that torch.export cannot follow; it is
            named, with the line of its source.
    """
    unit = detector.size_divisibility
    height, width = ((unit or _USUAL_STRIDE) * size for size in TRACED_SIZE)
    examples = {
        "data": torch.zeros(batch, len(detector.pixel_mean), height, width),
        "im_info": torch.tensor([[float(height), float(width), 1.0]] * batch),
        ROIS: torch.zeros(_TRACED_ROIS, 5),
    }
    # Without a divisibility the sizes of maps are quotients, and torch.export takes a size of 1 for a constant.
    least = 1 if unit > 1 else max(detector.strides.values()) + 1
    down, across = Dim("height", min=least), Dim("width", min=least)
    sizes: dict[str, dict[int, Any] | None] = {
        "data": {2: unit * down, 3: unit * across} if unit > 1 else {2: down, 3: across},
        "im_info": None,
        ROIS: {0: Dim("proposals", min=1)},
    }
    taken = {name: examples[name] for name in detector.input_names}
    module = _frozen(detector)
    dynamic_shapes = {name: sizes[name] for name in taken}
    try:
        # detectron2's older layers ask whether there is any RoI.
        with torch.no_grad(), _NormOfAnyCount(), some_of_each():
            program = torch.export.export(module, tuple(taken.values()), dynamic_shapes=dynamic_shapes, strict=False)
    except _UNTRACEABLE as error:
        raise UnsupportedOperator(_untraceable(error, module)) from error
    several = {BATCH_ARGUMENT: batch} if batch > 1 else {}
    return Traced(_portable(program), tuple(detector.output_names(batch)), {**net_arguments, **several})


@cycles_left_alone()
def save_program(traced: Traced, path: Path) -> None:
    """Write a traced program as `model.pt2`. Files of the same name repeat to the byte: the archive is named after it.

    Raises:
        OSError: the file cannot be written.
    """
    interface = {"output_names": list(traced.output_names), "net_arguments": traced.net_arguments}
    weights = sum(tensor.nbytes for tensor in traced.program.state_dict.values())
    with path.open("wb") as file:
        # torch's writer gives a full disk no errno; so the space is asked for first, and found missing here.
        os.posix_fallocate(file.fileno(), 0, weights + _GRAPH_BYTES)
    torch.export.save(traced.program, path, extra_files={_INTERFACE_FILE: json.dumps(interface, sort_keys=True)})


@cycles_left_alone()
def load_program(path: Path) -> Traced:
    """Read a program that `save_program` wrote.

    Raises:
        ModelFileError: no such file, a damaged one, one that could execute something, or a program that is not
            Roastery's.
    """
    if not path.is_file():
        raise ModelFileError(f"{path}: no such traced program; trace the model first")
    extra = {_INTERFACE_FILE: ""}
    try:
        refuse_what_executes(path)
        program = torch.export.load(str(path), extra_files=extra)
    except (zipfile.BadZipFile, RuntimeError, ValueError, KeyError, OSError) as error:
        raise ModelFileError(f"{path}: not a readable traced program ({error}); trace the model again") from error
    if not extra[_INTERFACE_FILE]:
        raise ModelFileError(f"{path}: not a program that Roastery traced; trace the model again")
    interface = json.loads(extra[_INTERFACE_FILE])
    return Traced(program, tuple(interface["output_names"]), interface["net_arguments"])


def _untraceable(error: BaseException, detector: nn.Module) -> str:
    """Which module, and which line of its source, torch.export could not follow."""
    names = {id(module): name for name, module in detector.named_modules()}
    place, line = "(top)", ""
    frames = traceback.walk_tb(error.__traceback__)
    for frame, number in frames:
        owner = id(frame.f_locals.get("self"))
        if owner in names and not frame.f_code.co_filename.startswith(_TORCH):
            place = names[owner] or "(top)"
            source = linecache.getline(frame.f_code.co_filename, number)
            line = f" ({place_of(frame.f_code.co_filename, number, source)})"
    if isinstance(error, _OF_THE_DATA):
        return (
            f"module {place!r}: has control flow that depends on the image{line}, and a Caffe2 net has one road for "
            "all; write it without, by torch.where or a product with a mask"
        )
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"module {place!r}: cannot be traced by torch.export{line}: {first[:200]}; write it with tensors alone"


class _NormOfAnyCount(TorchFunctionMode):
    """Norms of RoIs too: PyTorch's own functions ask how many there are, which nobody knows yet."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in (F.batch_norm, F.group_norm):
            return func(*args, **(kwargs or {}))
        given = inspect.signature(func).bind(*args, **(kwargs or {}))
        given.apply_defaults()
        if func is F.group_norm:
            return torch.group_norm(*given.args)
        x, mean, variance, weight, bias, training, momentum, eps = given.args
        if training:
            return func(*given.args)
        norm = torch.ops.aten._native_batch_norm_legit_no_training.default
        return norm(x, weight, bias, mean, variance, momentum, eps)[0]


def _frozen(detector: nn.Module) -> nn.Module:
    return detector.eval().requires_grad_(False)


def _let_there_be_none(program: ExportedProgram) -> None:
    """Drop the checks that counts are 0 or more; or 1 or more, which was said for tracing alone (`some_of_each`)."""
    for check in program.graph.find_nodes(op="call_function", target=torch.ops.aten._assert_scalar.default):
        condition = check.args[0]
        if isinstance(condition, torch.fx.Node) and condition.target is operator.ge and condition.args[1] in (0, 1):
            program.graph.erase_node(check)
            if not condition.users:
                program.graph.erase_node(condition)
    program.graph_module.recompile()


def _from_none(size: Any, bounds: Any) -> Any:
    """The range of a count, from 0; that of a side of the image as it is."""
    return ValueRanges(0, bounds.upper) if symbol_is_type(size, SymT.UNBACKED_INT) else bounds


def _portable(program: ExportedProgram) -> ExportedProgram:
    """Without sample inputs (they would be pickled into the file), guards, stack traces and ranges of derived sizes.

    Of a stack trace the user's line stays, in its stead: that is saved, and survives decomposition.

    A range for an expression (`32 * height`) is read back as if the expression were a symbol, and then the program
    cannot be decomposed (torch 2.13); the range of `height` says the same.
    """
    program._example_inputs = None
    # Sources that are executed when a program is called, to check sizes that the net's own operators check.
    program._guards_code = []
    _let_there_be_none(program)
    ranges = {str(size): (size, bounds) for size, bounds in program.range_constraints.items() if size.is_Symbol}
    # They come in a set's order, which changes from process to process.
    program._range_constraints = {size: _from_none(size, bounds) for _, (size, bounds) in sorted(ranges.items())}
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                place = called_from(node.meta.pop("stack_trace", ""))
                if place:
                    node.meta["stack_trace"] = place
    return program
