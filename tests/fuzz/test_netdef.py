"""Hostile NetDefs: read, compiled for the torch runtime and run there, drawn."""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.arguments import Arguments, Field
from roastery.caffe2.caffe2_pb2 import Argument, NetDef, OperatorDef
from roastery.caffe2.kernels.detection import detection_kernels
from roastery.caffe2.kernels.fills import FILLS
from roastery.caffe2.kernels.registry import kernels
from roastery.errors import RoasteryError

Changed = Callable[[st.SearchStrategy[bytes]], st.SearchStrategy[bytes]]
Mixed = Callable[..., st.SearchStrategy[Any]]
Mostly = Callable[[Any, st.SearchStrategy[Any]], st.SearchStrategy[Any]]

PREDICT = NetDef(name="net", external_input=["data", "w", "b"], external_output=["y"])
PREDICT.op.add(
    type="Conv", name="stem", input=["data", "w", "b"], output=["c"], arg=[Argument(name="kernels", ints=[1, 1])]
)
PREDICT.op.add(type="Relu", input=["c"], output=["y"])
INIT = NetDef(name="init", external_output=["w", "b"])
for _name, _shape in (("w", [2, 3, 1, 1]), ("b", [2])):
    _values = [0.5] * (6 if _name == "w" else 2)
    INIT.op.add(
        type="GivenTensorFill",
        output=[_name],
        arg=[Argument(name="shape", ints=_shape), Argument(name="values", floats=_values)],
    )

KERNELS = {**kernels(), **detection_kernels()}
TYPES = sorted(KERNELS.keys() - FILLS)


class Asking(Arguments):
    """Arguments of which none is there; it notes which are asked for."""

    def __init__(self, operator_type: str) -> None:
        super().__init__("asking", [], operator_type)
        self.asked: dict[str, Field] = {}

    def find(self, name: str, field: Field) -> None:
        self.asked[name] = field


def asked_by(operator_type: str) -> dict[str, Field]:
    arguments = Asking(operator_type)
    with contextlib.suppress(RoasteryError):
        KERNELS[operator_type].build(arguments)
    return arguments.asked


ASKED = {name: asked_by(name) for name in KERNELS}
ARGUMENT_NAMES = sorted({name for asked in ASKED.values() for name in asked})
_HOSTILE = [
    *(
        "<script>alert(1)</script>",
        '"]; evil [href="javascript:x"]',
        "../../x",
        "/etc/passwd",
        "a\nb",
        "a\0b",
        "\\N\\G",
        "&#60;b&#62;",
    ),
    *("\u202ex", "x" * 5000, "", " ", "<<b>x</b>>", "é漢\U0001f4a9"),
]
_names = st.sampled_from(["data", "im_info", "w", "b", "c", "y", "z"]) | st.sampled_from(_HOSTILE) | st.text(max_size=8)
_blobs = st.lists(_names, max_size=5)
_numbers = st.integers(-3, 40) | st.sampled_from([2**31 - 1, 2**31, -(2**31), 2**62, 2**63 - 1, -(2**63)])
_floats = st.floats(width=32)
_tensors = st.builds(
    lambda dims, kind, data: caffe2_pb2.TensorProto(dims=dims, data_type=kind, float_data=data),
    st.lists(_numbers, max_size=4),
    st.sampled_from([1, 2, 10]),
    st.lists(_floats, max_size=3),
)
_values = st.one_of(
    _numbers.map(lambda value: {"i": value}),
    _floats.map(lambda value: {"f": value}),
    st.sampled_from([b"NCHW", b"NHWC", b"\xff\xfe", b"constant", b"FLOAT", b"legacy", b""]).map(
        lambda value: {"s": value}
    ),
    st.lists(_numbers, max_size=6).map(lambda value: {"ints": value}),
    st.lists(_floats, max_size=6).map(lambda value: {"floats": value}),
    st.just({"ints": [1] * 90}),
    st.just({"ints": [0, 2**62]}),
    st.just({"floats": [0.0] * 40000}),
    st.lists(st.binary(max_size=3), max_size=3).map(lambda value: {"strings": value}),
    _tensors.map(lambda value: {"t": value}),
    st.just({"n": INIT}),
    st.just({"nets": [INIT, PREDICT]}),
    st.just({}),
    st.just({"i": 1, "f": 2.0}),
)
_arguments = st.lists(
    st.builds(lambda name, value: Argument(name=name, **value), st.sampled_from(ARGUMENT_NAMES) | _names, _values),
    max_size=5,
)


def operator_of(types: st.SearchStrategy[str]) -> st.SearchStrategy[OperatorDef]:
    return st.builds(
        lambda kind, name, reads, writes, arguments: OperatorDef(
            type=kind, name=name, input=reads, output=writes, arg=arguments
        ),
        types,
        _names,
        _blobs,
        _blobs,
        _arguments,
    )


_SMALL = st.integers(0, 4)
_CLOSE_VALUES: dict[Field, st.SearchStrategy[Any]] = {
    "i": _SMALL,
    "f": st.floats(0, 2, width=32),
    "s": st.sampled_from([b"NCHW", b"constant", b"reflect", b"", b"\xff\xfe"]),
    "ints": st.lists(_SMALL, min_size=1, max_size=4) | st.permutations(range(4)),
    "floats": st.lists(st.floats(0, 2, width=32), max_size=4),
    "strings": st.just([]),
}


@st.composite
def chain(draw: st.DrawFn, mostly: Mostly) -> NetDef:
    """Operators with as many inputs and outputs as they take, each reading what is there: they come to a kernel."""
    there = ["data", "im_info", "w", "b"]
    net = NetDef(name=draw(_names), external_input=there)
    for index in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(TYPES))
        kernel = KERNELS[kind]
        most_inputs, most_outputs = (min(most, fewest + 2) for fewest, most in (kernel.inputs, kernel.outputs))
        reads = [
            draw(mostly(draw(st.sampled_from(there)), st.sampled_from(["no such", f"v{index}_0", f"v{index + 1}_0"])))
            for _ in range(draw(st.integers(kernel.inputs[0], most_inputs)))
        ]
        writes = [
            draw(mostly(f"v{index}_{n}", _names)) for n in range(draw(st.integers(kernel.outputs[0], most_outputs)))
        ]
        asked = ASKED[kind]
        arguments = [
            Argument(name=name, **{asked[name]: draw(_CLOSE_VALUES[asked[name]])})
            for name in sorted(draw(st.sets(st.sampled_from(sorted(asked)), max_size=4)) if asked else [])
        ]
        more = draw(mostly([], _arguments))
        net.op.add(type=kind, input=reads, output=writes, arg=arguments + more, name=draw(_names))
        there += writes
    net.external_output.append(there[-1])
    return net


# Of six values, or of another number, or of none that there can be.
_SHAPES = [
    *([2, 3], [-2, -3], [-6], [7], [2**62], [0, 2**62], [2**31, 2**31], [2**62, 4]),
    *([1] * 63 + [6], [1] * 90, [0] * 40),
]


def fill(kind: str, shape: Sequence[int], values: Sequence[int]) -> NetDef:
    """An init net of one fill."""
    arguments = [Argument(name="shape", ints=shape), Argument(name="values", **{ASKED[kind]["values"]: values})]
    return NetDef(op=[OperatorDef(type=kind, output=["w"], arg=arguments)])


@st.composite
def fills(draw: st.DrawFn, mostly: Mostly) -> NetDef:
    """An init net whose fills may have any shape and values, and mostly have some that fit."""
    net = NetDef(name="init")
    hostile_shapes = st.lists(st.integers(0, 3) | _numbers, max_size=4) | st.sampled_from(_SHAPES)
    for name in ("w", "b", draw(_names)):
        kind = draw(st.sampled_from(sorted(FILLS)))
        shape = draw(mostly(draw(st.lists(_SMALL, max_size=4)), hostile_shapes))
        count = draw(mostly(min(max(math.prod(shape), 0), 40000), st.sampled_from([0, 1, 2, 6, 27, 40000])))
        fitting = {"floats": [0.5] * count} if ASKED[kind]["values"] == "floats" else {"ints": [1] * count}
        hostile_values = [
            {"floats": [0.5] * count},
            {"ints": [2**40] * count},
            {"floats": [1.0], "ints": [1]},
            {"s": b"x"},
        ]
        values = draw(mostly(fitting, st.sampled_from(hostile_values)))
        arguments = [Argument(name="shape", ints=shape), Argument(name="values", **values)]
        net.op.add(type=kind, output=[name], arg=arguments + draw(mostly([], _arguments)))
    return net


def doubling(depth: int) -> NetDef:
    """An init net that is small, and whose blobs are not."""
    net = NetDef(name="init", external_output=[f"v{depth}"])
    net.op.add(
        type="GivenTensorFill",
        output=["v0"],
        arg=[Argument(name="shape", ints=[1000]), Argument(name="values", floats=[0.0] * 1000)],
    )
    for n in range(depth):
        net.op.add(type="Concat", input=[f"v{n}"] * 8, output=[f"v{n + 1}", f"s{n}"], arg=[Argument(name="axis", i=0)])
    return net


def looped(depth: int) -> bytes:
    """Nets in nets' arguments, written down by hand: protobuf would not build as many."""
    content = PREDICT.SerializeToString()
    for _ in range(depth):
        # Argument.nets in OperatorDef.arg in NetDef.op
        for number in (9, 5, 2):
            content = bytes([number << 3 | 2]) + varint(len(content)) + content
    return content


def varint(number: int) -> bytes:
    return bytes([number & 0x7F | 0x80]) + varint(number >> 7) if number > 0x7F else bytes([number])


_ANY_NETS = st.builds(
    lambda name, ops, reads, writes, arguments: NetDef(
        name=name, op=ops, external_input=reads, external_output=writes, arg=arguments
    ),
    _names,
    st.lists(
        operator_of(st.sampled_from(TYPES) | st.sampled_from(["NoSuch", "PythonOp", "Load", *_HOSTILE])),
        min_size=1,
        max_size=5,
    ),
    _blobs,
    _blobs,
    _arguments,
)
_SPECIAL = st.sampled_from(
    [("pipe", ""), ("folder", ""), ("link", "/dev/zero"), ("link", "model.pb"), ("link", "../outside/pipe")]
)
# A group, which no field of a NetDef is; a length beyond the end; deep nesting.
_BYTES = st.sampled_from([b"", b"\x0b\x0c", b"\x12\xff\xff\xff\xff\x0f", b"\x12\x02" * 300, b"\xff" * 30])


def serialized(nets: st.SearchStrategy[NetDef]) -> st.SearchStrategy[bytes]:
    return nets.map(lambda net: net.SerializeToString())


def test_a_hostile_netdef_is_run_or_refused_in_one_line_and_drawn(
    fuzz: Any, mutated: Changed, mixed: Mixed, mostly: Mostly
) -> None:
    predict, init = PREDICT.SerializeToString(), INIT.SerializeToString()
    chains = serialized(chain(mostly))
    looping = st.integers(1, 60).map(looped) | serialized(st.integers(1, 30).map(doubling))
    hostile = mixed(
        (5, chains),
        (1, serialized(_ANY_NETS)),
        (1, looping),
        (1, mutated(st.just(predict) | chains)),
        (1, _SPECIAL | _BYTES),
    )
    inputs = hostile.map(lambda net: ({"model.pb": net, "model_init.pb": init}, []))
    operators = [
        OperatorDef(type=kind, input=[name], output=[name]) for kind in ("Conv", "NoSuch") for name in _HOSTILE
    ]
    operators += [OperatorDef(type=kind) for kind in TYPES]
    known = [looped(60), doubling(30).SerializeToString(), predict.replace(b"stem", b"\xff\xfe\0x")]
    known += [NetDef(op=[operator], external_input=operator.input).SerializeToString() for operator in operators]
    known_inputs = [({"model.pb": net, "model_init.pb": init}, []) for net in known]
    fuzz("netdef", ({"model.pb": predict, "model_init.pb": init}, []), inputs, known_inputs)


def test_a_hostile_init_net_fills_parameters_or_is_refused_in_one_line(
    fuzz: Any, mutated: Changed, mixed: Mixed, mostly: Mostly
) -> None:
    predict, init = PREDICT.SerializeToString(), INIT.SerializeToString()
    filling = serialized(fills(mostly))
    others = serialized(chain(mostly) | _ANY_NETS) | serialized(st.integers(1, 30).map(doubling))
    hostile = mixed((6, filling), (1, others), (1, mutated(st.just(init) | filling)), (1, _SPECIAL | _BYTES))
    inputs = hostile.map(lambda net: ({"model.pb": predict, "model_init.pb": net}, []))
    known = [doubling(30), *(fill(kind, shape, [1] * 6) for kind in sorted(FILLS) for shape in _SHAPES)]
    known += [fill(kind, [1], [2**40]) for kind in sorted(FILLS)]
    known_inputs = [({"model.pb": predict, "model_init.pb": net.SerializeToString()}, []) for net in known]
    fuzz("netdef", ({"model.pb": predict, "model_init.pb": init}, []), inputs, known_inputs)
