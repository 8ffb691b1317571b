"""A traced program as ONNX, with Caffe2's detection operators as nodes of their own domain.

The graph is kept in ONNX IR (`onnx_ir`), which holds weights as views on the traced program's tensors, so that a model
is not copied on its way to a file or a NetDef.
"""

import json
import logging
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass

from roastery.cycles import cycles_left_alone
from roastery.errors import ModelFileError, UnsupportedOperator
from roastery.export.decompositions import decompose
from roastery.export.known_sizes import tell_known_sizes
from roastery.export.trace import Traced
from roastery.export.translations import plain_translations
from roastery.metadata import MODULE_KEY, NET_ARGUMENTS_KEY, PLACE_KEY
from roastery.onnx_messages import ONNX_ERRORS, first_line, unreadable
from roastery.ops.definition import translations
from roastery.places import known_place, named_node
from roastery.regular_file import require_regular

OPSET = 21

_NAME_SCOPES_KEY = "pkg.torch.onnx.name_scopes"
# What `trace` left of it is a place; the exporter's own are of this machine, and no places.
_STACK_TRACE_KEY = "pkg.torch.onnx.stack_trace"


@cycles_left_alone()
def export_onnx(traced: Traced, input_names: Sequence[str] | None = None) -> ir.Model:
    """Translate a traced program to ONNX. It is used up by that: to export again, trace or load it again (torch 2.13).

    Args:
        input_names: other names than the program's own.

    Returns:
        The model, opset 21 and `ops.definition.ONNX_DOMAIN`. Each node's metadata says which module it came from, and
        which line of a user's source called it; the net's arguments are in the model's metadata. It holds no path, time
        or sample.

    Raises:
        UnsupportedOperator: the program has an operator without an ONNX form; it is named, with its module and the
            line of a user's source.
    """
    tell_known_sizes(traced.program)
    decompose(traced.program)
    try:
        model = _translated(traced, list(input_names or traced.input_names))
    except torch.onnx.errors.OnnxExporterError as error:
        raise UnsupportedOperator(f"{_refused(error)} has no ONNX form: {_innermost(error)}") from error
    # The sizes that torch.export asserts on are computed, and then used by nothing.
    RemoveUnusedNodesPass()(model)
    _strip(model)
    model.metadata_props[NET_ARGUMENTS_KEY] = json.dumps(traced.net_arguments, sort_keys=True)
    return model


def _translated(traced: Traced, input_names: list[str]) -> ir.Model:
    # It imports PyTorch's exporter, which who reads a model does without.
    from roastery.export.translate import Translations

    own = {**translations(), **plain_translations()}
    known = Translations(traced.program, own, OPSET)
    if known.suffice():
        return known.translate(input_names, traced.output_names)
    with _quiet_exporter():
        exported = torch.onnx.export(
            traced.program,
            dynamo=True,
            opset_version=OPSET,
            input_names=input_names,
            output_names=list(traced.output_names),
            custom_translation_table=own,
            optimize=False,
            verbose=False,
        )
    if exported is None:
        raise UnsupportedOperator("the traced program has no ONNX form: the exporter gave none")
    return exported.model


def save_onnx(model: ir.Model, path: Path) -> None:
    """Write `model.onnx`, weights inside, and have onnx.checker pass it.

    Raises:
        onnx.checker.ValidationError, onnx.shape_inference.InferenceError: the model is none; no file is left.
        OSError: the file cannot be written.
    """
    path.write_bytes(ir.to_proto(model).SerializeToString(deterministic=True))
    try:
        # By its path: a model in hand would be copied twice to be checked.
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        path.unlink()
        raise


def load_onnx(path: Path) -> ir.Model:
    """Read and check a model.onnx.

    Raises:
        ModelFileError: no such file, not ONNX, refused by onnx.checker, or with weights outside of the file.
    """
    try:
        require_regular(path)
    except OSError as error:
        raise ModelFileError(f"{path}: no such ONNX file ({error.strerror}); export the model first") from error
    try:
        # Before the checker, which looks for files of weights.
        for reason in unreadable(onnx.load_model(path, load_external_data=False)):
            raise ModelFileError(f"{path}: {reason}")
        onnx.checker.check_model(str(path), full_check=True)
        return ir.from_proto(onnx.load_model(path, load_external_data=False))
    except ONNX_ERRORS as error:
        raise ModelFileError(f"{path}: not a valid ONNX model ({first_line(error)}); export it again") from error


def _strip(model: ir.Model) -> None:
    """Keep of the exporter's metadata the module's name and the user's line: stack traces hold paths of the machine."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        scopes = node.metadata_props.get(_NAME_SCOPES_KEY, "[]").strip("[]").replace("'", "").split(", ")
        place = known_place(node.metadata_props.get(_STACK_TRACE_KEY))
        node.metadata_props.clear()
        # The last scope is the node itself, the one before its module.
        if len(scopes) > 1:
            node.metadata_props[MODULE_KEY] = scopes[-2]
        if place:
            node.metadata_props[PLACE_KEY] = place
    for value in [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()
    for node in model.graph.all_nodes():
        for value in node.outputs:
            value.metadata_props.clear()


def _refused(error: BaseException) -> str:
    """The operator that the exporter could not translate: it tells it by its number in the graph alone."""
    node = None
    while error.__cause__ is not None:
        error = error.__cause__
        for frame, _ in traceback.walk_tb(error.__traceback__):
            handled = frame.f_locals.get("node")
            node = handled if isinstance(handled, torch.fx.Node) else node
    if node is None:
        return "the traced program"
    return f"{named_node(node)}: the operator '{node.target}'"


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    # PyTorch's first line may list every tensor of the model.
    return text.splitlines()[0][:300] if text else type(error).__name__


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter warns of torchvision, which nothing here uses, and of its own deprecations."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            yield
    finally:
        logger.setLevel(level)
