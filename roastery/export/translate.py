"""A traced program translated to ONNX IR as it is.

torch.onnx.export traces a program a second time to decompose its operators, reads the sources of all the 500
translations that it knows, and runs the program a third time to see which types are promoted. Of a detector that is
nineteen twentieths of an export, and leaves every operator as it was, but for the few that `decompositions` rewrites.
So where nothing is left to decompose or to promote, the program goes to PyTorch's translation itself, with the
translations of its own operators. That is no public part of PyTorch, which is pinned (torch 2.13).
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import version_converter
from onnxscript.function_libs.torch_lib import ops as _torchlib  # noqa: F401  (it registers them)
from onnxscript.function_libs.torch_lib.registration import default_registry
from torch._export.utils import _is_cia_op
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import Node
from torch.onnx._internal.exporter import _core, _fx_passes, _ir_passes
from torch.onnx._internal.exporter._registration import OnnxDecompMeta, ONNXRegistry
from torch.onnx._internal.exporter._torchlib._torchlib_registry import get_torchlib_ops
from torch.onnx._internal.fx.passes.type_promotion import TypePromotionTable

aten = torch.ops.aten
# Checks on sizes, which a net has none of.
_CHECKS = (
    aten._assert_scalar.default,
    aten._assert_tensor_metadata.default,
    aten.sym_constrain_range_for_size.default,
)
_NUMBERS = {bool: torch.bool, int: torch.int64, float: torch.float32}


class Translations:
    """The ONNX form of each operator of a program.

    Args:
        own: translations that go before PyTorch's.
    """

    def __init__(self, program: ExportedProgram, own: Mapping[Any, Callable[..., Any]], opset: int) -> None:
        self.program = program
        self.opset = opset
        self._registry = ONNXRegistry()
        self._registry._opset_version = opset
        own_of_torchlib = dict(default_registry.items())
        targets: set[Any] = {node.target for node in _calls(program)}
        for known in get_torchlib_ops():
            if known.fx_target in targets:
                self._registry._register(known.fx_target, known)
        for target in targets:
            functions = own_of_torchlib.get(_name(target))
            for function in functions.overloads if functions is not None else ():
                self._registry._register(target, OnnxDecompMeta(function, target, signature=None))
        self._registry._cleanup_registry_based_on_opset_version()
        for target in targets & own.keys():
            self._registry.register_op(target, own[target])

    def suffice(self) -> bool:
        """Whether the program can be translated as it is: nothing is to be decomposed, or promoted to another type."""
        if any(node.op == "get_attr" for node in self.program.graph.nodes):
            return False
        promotions = TypePromotionTable()
        return all(
            node.target in _CHECKS
            or (self._is_known(node.target) and not _is_decomposed(node.target) and not _is_promoted(node, promotions))
            for node in _calls(self.program)
        )

    def translate(self, input_names: Sequence[str], output_names: Sequence[str]) -> ir.Model:
        """The program as ONNX IR, as torch.onnx.export gives it unoptimised; the program is used up.

        Raises:
            torch.onnx.errors.OnnxExporterError: an operator that its translation refuses.
        """
        _name_outputs(self.program)
        self.program._graph_module = _fx_passes.remove_assertion_nodes(self.program.graph_module)
        model = _core._exported_program_to_onnx_program(self.program, registry=self._registry).model
        version_converter.convert_version(model, self.opset, fallback=True)
        _ir_passes.rename_inputs(model, input_names)
        _ir_passes.rename_outputs(model, output_names)
        return model

    def _is_known(self, target: Any) -> bool:
        return target is operator.getitem or self._registry.is_registered(target)


def _name_outputs(program: ExportedProgram) -> None:
    """Of an output that was rewritten the signature still tells the old name."""
    (given,) = program.graph.output_node().args
    assert isinstance(given, Sequence)
    for spec, value in zip(program.graph_signature.output_specs, given, strict=True):
        if isinstance(value, Node):
            spec.arg.name = value.name


def _calls(program: ExportedProgram) -> Iterator[Node]:
    return (node for node in program.graph.nodes if node.op == "call_function")


def _name(target: Any) -> str:
    """As torchlib names an operator."""
    if isinstance(target, OpOverload):
        return str(target.name())  # type: ignore[no-untyped-call]
    return f"_operator::{getattr(target, '__name__', '')}"


def _is_decomposed(target: Any) -> bool:
    """Whether torch.export decomposes an operator that has a translation: what writes, or may give its input back."""
    if not isinstance(target, OpOverload):
        return False
    aliases = any(argument.alias_info is not None for argument in target._schema.arguments)
    uncertain = torch.Tag.maybe_aliasing_or_mutating in target.tags
    return target._schema.is_mutable or ((aliases or uncertain) and _is_cia_op(target))


def _is_promoted(node: Node, promotions: TypePromotionTable) -> bool:
    """Whether an operator takes numbers of another type than it reckons with."""
    if not isinstance(node.target, OpOverload):
        return False
    rule = promotions.get_rule(node.target.overloadpacket)
    if rule is None:
        return False
    args: Any = torch.fx.map_arg(node.args, lambda inner: inner.meta["val"])
    kwargs: Any = torch.fx.map_arg(node.kwargs, lambda inner: inner.meta["val"])
    found = rule.preview_type_promotion(args, kwargs)
    wanted = [(args[place], dtype) for place, dtype in found.args_dtypes.items()]
    wanted += [(kwargs[name], dtype) for name, dtype in found.kwargs_dtypes.items()]
    return any(not _is_of(dtype, value) for value, dtype in wanted)


def _is_of(dtype: torch.dtype, value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_of(dtype, each) for each in value)
    return dtype == (value.dtype if isinstance(value, torch.Tensor) else _NUMBERS.get(type(value)))
