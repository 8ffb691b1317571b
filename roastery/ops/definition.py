"""One definition of an operator, five uses.

A file in `ops/` holds one Caffe2 operator as two functions: a PyTorch kernel, whose signature *is* the definition
(positional parameters are the inputs, those annotated `Tensor | None` may be left out; keyword-only parameters are
Caffe2's arguments with Caffe2's defaults), and a fake kernel that only knows shapes; a third, its lowering, writes it
in standard ONNX. From them come

1. the `torch.library` custom op that `torch.export` keeps whole (`Operator.__call__` calls it),
2. the ONNX schema in `ONNX_DOMAIN` and the exporter's translation (`translations`),
3. the NetDef operator (`Operator.name` and `Operator.arguments`; `caffe2/convert.py` reads them),
4. the kernel that the torch runtime runs (`Operator.kernel`),
5. the nodes of standard ONNX that take its place (`Operator.lower`; `onnx_runtime/lower.py` asks for them).
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import onnx
import onnxscript
import torch
from torch import Tensor

ONNX_DOMAIN = "org.pytorch._caffe2"
ONNX_DOMAIN_VERSION = 1
TORCH_NAMESPACE = "roastery"
# Registered ahead of time, because a saved program must find its operators when it is loaded.
VARIADIC_OUTPUT_COUNTS = range(2, 10)

ArgumentValue = int | float | bool | str | list[float] | list[int]

_ATTRIBUTES = onnx.defs.OpSchema.AttrType
_VARIADIC = onnx.defs.OpSchema.FormalParameterOption.Variadic
_OPTIONAL = onnx.defs.OpSchema.FormalParameterOption.Optional
_SINGLE = onnx.defs.OpSchema.FormalParameterOption.Single
# Python's annotation: torch's schema type, ONNX's attribute type, how a value becomes an attribute's.
_ARGUMENT_TYPES: dict[Any, tuple[str, Any, Callable[[Any], Any]]] = {
    int: ("int", _ATTRIBUTES.INT, int),
    bool: ("bool", _ATTRIBUTES.INT, int),
    float: ("float", _ATTRIBUTES.FLOAT, float),
    str: ("str", _ATTRIBUTES.STRING, str),
    list[float]: ("float[]", _ATTRIBUTES.FLOATS, lambda values: [float(value) for value in values]),
    list[int]: ("int[]", _ATTRIBUTES.INTS, lambda values: [int(value) for value in values]),
}


@dataclass(frozen=True)
class Argument:
    """A Caffe2 argument: its name, its Python type (one of `_ARGUMENT_TYPES`) and Caffe2's default."""

    name: str
    type: Any
    default: ArgumentValue

    def to_attribute(self, value: Any) -> Any:
        """The value as an ONNX attribute and a Caffe2 argument hold it (a bool is an int there)."""
        return _ARGUMENT_TYPES[self.type][2](value)

    def default_attribute(self) -> onnx.AttributeProto:
        """The default as an ONNX attribute; an empty list keeps its type."""
        kind = _ARGUMENT_TYPES[self.type][1]
        return onnx.helper.make_attribute(self.name, self.to_attribute(self.default), attr_type=kind.value)


@dataclass(frozen=True)
class Operator:
    """A Caffe2 operator. Call it to run the custom op: inputs by position, arguments by name.

    An operator whose first parameter is `list[Tensor]` takes any number of inputs (in ONNX and in a NetDef they follow
    one another). One whose number of outputs depends on its arguments has `output_count`; its `outputs` then names the
    last output only, the others being numbered, and it is registered once for each count.
    """

    name: str
    inputs: tuple[str, ...]
    optional_inputs: frozenset[str]
    takes_list: bool
    outputs: tuple[str, ...]
    arguments: Mapping[str, Argument]
    kernel: Callable[..., Any]
    output_count: Callable[..., int] | None = None
    lower: Callable[..., Any] | None = None
    overloads: dict[int, Any] = field(default_factory=dict)

    def __call__(self, *inputs: Any, **arguments: Any) -> Any:
        return self.overloads[self.count_outputs(arguments)](*inputs, **arguments)

    def count_outputs(self, arguments: Mapping[str, Any]) -> int:
        if self.output_count is None:
            return len(self.outputs)
        defaults = {argument.name: argument.default for argument in self.arguments.values()}
        return self.output_count(**(defaults | dict(arguments)))


_OPERATORS: dict[str, Operator] = {}
_least_count: ContextVar[int] = ContextVar("_least_count", default=0)


def operators() -> Mapping[str, Operator]:
    """Every defined operator by its Caffe2 name. Import `roastery.ops` to have them all."""
    return _OPERATORS


def operator(
    name: str,
    *,
    outputs: Sequence[str],
    fake: Callable[..., Any],
    lower: Callable[..., Any] | None = None,
    output_count: Callable[..., int] | None = None,
) -> Callable[[Callable[..., Any]], Operator]:
    """Define an operator from its kernel.

    Args:
        name: Caffe2's name of the type, for example "BBoxTransform".
        outputs: names of the outputs in order.
        fake: takes what the kernel takes and returns empty tensors of the right shape and dtype; a size that depends on
            the values comes from `new_count()`.
        lower: takes a `lowering.Lowering`, the inputs as its values and the arguments, and returns the outputs' values
            in standard ONNX; raises UnsupportedOperator for arguments without such a form.
        output_count: for an operator whose number of outputs depends on its arguments, that number from all of them.
    """

    def define(kernel: Callable[..., Any]) -> Operator:
        if name in _OPERATORS:
            raise ValueError(f"operator {name} is defined twice")
        parameters = inspect.signature(kernel).parameters.values()
        inputs = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        arguments = {p.name: Argument(p.name, p.annotation, p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}
        defined = Operator(
            name=name,
            inputs=tuple(p.name for p in inputs),
            optional_inputs=frozenset(p.name for p in inputs if p.default is None),
            takes_list=inputs[0].annotation == list[Tensor],
            outputs=tuple(outputs),
            arguments=arguments,
            # A kernel that is called itself, not through the custom op, need not record gradients that none has.
            kernel=torch.no_grad()(kernel),
            output_count=output_count,
            lower=lower,
        )
        counts = [len(outputs)] if output_count is None else VARIADIC_OUTPUT_COUNTS
        for count in counts:
            suffix = "" if output_count is None else f"_{count}"
            custom_op = torch.library.custom_op(
                f"{TORCH_NAMESPACE}::{name}{suffix}",
                defined.kernel,
                mutates_args=(),
                schema=_torch_schema(defined, count),
            )
            custom_op.register_fake(fake)
            defined.overloads[count] = getattr(getattr(torch.ops, TORCH_NAMESPACE), f"{name}{suffix}").default
        onnx.defs.register_schema(_onnx_schema(defined, None if output_count else len(outputs)))
        _OPERATORS[name] = defined
        return defined

    return define


def new_count(*, part: bool = False) -> Any:
    """For a fake kernel: how many there are, which only the values say.

    Args:
        part: they are some of others, and may be none where there are others.
    """
    return torch.library.get_ctx().new_dynamic_size(min=0 if part else _least_count.get())


@contextmanager
def some_of_each() -> Iterator[None]:
    """For as long, `new_count` gives 1 or more, but of parts: modules that ask whether there is any get an answer."""
    before = _least_count.set(1)
    try:
        yield
    finally:
        _least_count.reset(before)


def translations() -> dict[Any, Callable[..., Any]]:
    """`custom_translation_table` for `torch.onnx.export`: each custom op becomes the one ONNX node of its name."""
    return {
        overload: _translation(defined, count)
        for defined in _OPERATORS.values()
        for count, overload in defined.overloads.items()
    }


def _torch_schema(defined: Operator, count: int) -> str:
    if defined.takes_list:
        inputs = [f"Tensor[] {name}" for name in defined.inputs]
    else:
        inputs = [f"Tensor? {n}=None" if n in defined.optional_inputs else f"Tensor {n}" for n in defined.inputs]
    arguments = [f"{_ARGUMENT_TYPES[a.type][0]} {a.name}={_schema_default(a)}" for a in defined.arguments.values()]
    parameters = ", ".join([*inputs, *(["*", *arguments] if arguments else [])])
    results = ", ".join(["Tensor"] * count)
    return f"({parameters}) -> {results if count == 1 else f'({results})'}"


def _schema_default(argument: Argument) -> str:
    if isinstance(argument.default, str):
        return f'"{argument.default}"'
    if isinstance(argument.default, list):
        return "[" + ",".join(repr(value) for value in argument.default) + "]"
    return repr(argument.default)


def _onnx_schema(defined: Operator, count: int | None) -> onnx.defs.OpSchema:
    """The schema with `count` outputs; with any number of them where `count` is None."""
    parameter = onnx.defs.OpSchema.FormalParameter
    # A type of its own for each value: a checker must not unify int32 indices with float32 boxes.
    if defined.takes_list:
        inputs = [parameter(defined.inputs[0], "T0", param_option=_VARIADIC, is_homogeneous=False)]
    else:
        inputs = [
            parameter(name, f"T{i}", param_option=_OPTIONAL if name in defined.optional_inputs else _SINGLE)
            for i, name in enumerate(defined.inputs)
        ]
    if count is None:
        outputs = [parameter("outputs", "R0", param_option=_VARIADIC, is_homogeneous=False)]
    else:
        names = defined.outputs if defined.output_count is None else [f"output_{i}" for i in range(count)]
        outputs = [parameter(name, f"R{i}") for i, name in enumerate(names)]
    types = ["tensor(float)", "tensor(int32)", "tensor(int64)"]
    constraints = [f"T{i}" for i in range(len(inputs))] + [f"R{i}" for i in range(len(outputs))]
    return onnx.defs.OpSchema(
        defined.name,
        ONNX_DOMAIN,
        ONNX_DOMAIN_VERSION,
        doc=inspect.getdoc(defined.kernel) or "",
        inputs=inputs,
        outputs=outputs,
        type_constraints=[(name, types, "") for name in constraints],
        attributes=[onnx.defs.OpSchema.Attribute(a.name, a.default_attribute()) for a in defined.arguments.values()],
    )


def _translation(defined: Operator, count: int) -> Callable[..., Any]:
    opset = onnxscript.values.Opset(ONNX_DOMAIN, ONNX_DOMAIN_VERSION)
    node = onnxscript.values.Op(opset, defined.name, _onnx_schema(defined, count))

    def translate(*inputs: Any, **arguments: Any) -> Any:
        # Every argument is written out, so that the NetDef does not depend on a reader's defaults.
        attributes = {a.name: a.to_attribute(arguments.get(a.name, a.default)) for a in defined.arguments.values()}
        given = inputs[0] if defined.takes_list else [value for value in inputs if value is not None]
        return node(*given, **attributes)

    return translate
