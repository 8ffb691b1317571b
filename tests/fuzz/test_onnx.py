"""Hostile ONNX files: read, converted to a NetDef, written; or, as a standard model, read and run."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from roastery.caffe2.operators import table
from roastery.metadata import MODULE_KEY, NET_ARGUMENTS_KEY
from roastery.ops.definition import ONNX_DOMAIN, operators

Changed = Callable[[st.SearchStrategy[bytes]], st.SearchStrategy[bytes]]
Mixed = Callable[..., st.SearchStrategy[Any]]


def tensor(name: str, dims: Sequence[int]) -> TensorProto:
    count = 1
    for dim in dims:
        count *= dim
    return helper.make_tensor(name, TensorProto.FLOAT, dims, [0.5] * count)


def model_of(nodes: Sequence[NodeProto], initializers: Sequence[TensorProto]) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, "height", "width"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "n"])],
        initializers,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(ONNX_DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    model.graph.value_info.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, [1, "n"]))
    model.metadata_props.add(key=NET_ARGUMENTS_KEY, value=json.dumps({"size_divisibility": 32, "device": "cpu"}))
    return model


CONV = helper.make_node("Conv", ["data", "w", "b"], ["c"], kernel_shape=[1, 1])
CONV.metadata_props.add(key=MODULE_KEY, value="backbone.stem")
NORM = helper.make_node("BatchNormalization", ["c", "b", "b", "b", "b"], ["n"], epsilon=1e-5)
SHAPE = helper.make_node("Constant", [], ["s"], value=helper.make_tensor("", TensorProto.INT64, [2], [1, -1]))
RESHAPE = helper.make_node("Reshape", ["n", "s"], ["r"])
LAST = helper.make_node("Softmax", ["r"], ["y"], axis=-1)
NODES = [CONV, NORM, SHAPE, RESHAPE, LAST]
VALID = model_of(NODES, [tensor("w", [2, 3, 1, 1]), tensor("b", [2])])

_numbers = st.integers(-3, 9) | st.sampled_from([2**31 - 1, 2**31, -(2**31), 2**62, 2**63 - 1, -(2**63)])
_names = st.sampled_from(["data", "w", "b", "c", "n", "s", "r", "y", "z", ""]) | st.sampled_from(
    ["<script>", '"><svg onload=x>', "../../x", "/etc/passwd", "a\nb", "a\0b", "\u202ex", "x" * 3000]
)
LOCATIONS = [
    *(
        "../outside/secret",
        "/etc/passwd",
        "weights.bin",
        "up/outside/secret",
        "link.bin",
        "hard.bin",
        "/dev/zero",
        "pipe",
        "../outside/pipe",
    ),
    *("", ".", "..", "a\0b", "x" * 300, "./weights.bin", "zero", "weights.bin/../../outside/secret"),
]
_locations = st.sampled_from(LOCATIONS)


@st.composite
def _tensors(draw: st.DrawFn) -> TensorProto:
    made = TensorProto(
        name=draw(_names), dims=draw(st.lists(_numbers, max_size=4) | st.just([1] * 90) | st.just([0, 2**62]))
    )
    made.data_type = draw(st.integers(0, 24) | st.just(1) | st.just(7))
    match draw(st.sampled_from(["raw", "float", "int64", "string", "none", "int32"])):
        case "raw":
            made.raw_data = draw(st.binary(max_size=32))
        case "float":
            made.float_data.extend(draw(st.lists(st.floats(width=32), max_size=8)))
        case "int64":
            made.int64_data.extend(draw(st.lists(_numbers, max_size=8)))
        case "int32":
            made.int32_data.extend(draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=8)))
        case "string":
            made.string_data.extend(draw(st.lists(st.binary(max_size=4), max_size=3)))
    return made


def elsewhere(location: str) -> TensorProto:
    made = TensorProto(name="w", dims=[2, 3, 1, 1], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    made.external_data.add(key="location", value=location)
    return made


@st.composite
def _external(draw: st.DrawFn) -> TensorProto:
    """A tensor whose numbers lie in another file, or that says so beside."""
    made = tensor(draw(_names), [2, 3, 1, 1])
    if draw(st.integers(0, 3)):
        made.ClearField("float_data")
    made.data_location = draw(st.sampled_from([TensorProto.EXTERNAL, TensorProto.EXTERNAL, TensorProto.DEFAULT]))
    made.external_data.add(key="location", value=draw(_locations))
    for key in draw(st.sets(st.sampled_from(["offset", "length", "checksum", "x"]), max_size=2)):
        value = draw(st.sampled_from(["0", "24", "-1", str(2**62), "x", "9" * 5000]))
        made.external_data.add(key=key, value=value)
    return made


PLACES = ["weight", "more", "constant", "attribute", "attributes", "subgraph", "function", "sparse", "training"]


def with_tensor(outside: TensorProto, place: str) -> bytes:
    """The valid model with that tensor in it."""
    model = ModelProto()
    model.CopyFrom(VALID)
    match place:
        case "weight":
            outside.name = "w"
            model.graph.initializer[0].CopyFrom(outside)
        case "more":
            model.graph.initializer.append(outside)
        case "constant":
            model.graph.node.insert(0, helper.make_node("Constant", [], ["k"], value=outside))
            model.graph.node.append(helper.make_node("Add", ["k", "k"], ["u"]))
        case "attribute":
            model.graph.node[0].attribute.add(name="x", type=AttributeProto.TENSOR, t=outside)
        case "attributes":
            model.graph.node[0].attribute.add(name="x", type=AttributeProto.TENSORS, tensors=[outside])
        case "subgraph":
            graph = subgraph(2)
            graph.initializer.append(outside)
            node = helper.make_node("If", ["w"], ["q"], then_branch=graph, else_branch=subgraph(0))
            model.graph.node.append(node)
        case "function":
            node = helper.make_node("Constant", [], ["v"], value=outside)
            opsets = [helper.make_opsetid("", 21)]
            model.functions.append(helper.make_function("own", "f", ["x"], ["v"], [node], opsets))
            model.opset_import.append(helper.make_opsetid("own", 1))
            model.graph.node.append(helper.make_node("f", ["data"], ["v"], domain="own"))
        case "sparse":
            model.graph.sparse_initializer.add(dims=[2, 3, 1, 1], values=outside, indices=tensor("indices", [1]))
        case "training":
            model.training_info.add().initialization.initializer.append(outside)
    return model.SerializeToString()


def subgraph(depth: int) -> GraphProto:
    """Graphs in graphs."""
    graph = helper.make_graph([], "inner", [], [helper.make_tensor_value_info("q", TensorProto.FLOAT, [1])])
    for _ in range(depth):
        node = helper.make_node("If", ["w"], ["q"], then_branch=graph, else_branch=GraphProto(name="e"))
        graph = helper.make_graph([node], "outer", [], [helper.make_tensor_value_info("q", TensorProto.FLOAT, [1])])
    return graph


_ATTRIBUTE_NAMES = st.sampled_from(
    sorted(
        {name for defined in operators().values() for name in defined.arguments}
        | {
            *(
                "kernel_shape",
                "strides",
                "pads",
                "dilations",
                "group",
                "auto_pad",
                "axis",
                "value",
                "value_float",
                "value_ints",
            )
        }
        | {
            *(
                "epsilon",
                "transA",
                "transB",
                "alpha",
                "beta",
                "num_groups",
                "mode",
                "nearest_mode",
                "ceil_mode",
                "to",
                "perm",
            )
        }
        | {
            *(
                "coordinate_transformation_mode",
                "output_padding",
                "allowzero",
                "value_string",
                "sparse_value",
                "body",
                "x",
            )
        }
    )
)


@st.composite
def _attributes(draw: st.DrawFn) -> AttributeProto:
    made = AttributeProto(name=draw(_ATTRIBUTE_NAMES))
    kind = draw(st.sampled_from(["f", "i", "s", "t", "g", "floats", "ints", "strings", "tensors", "ref", "none"]))
    declared = {
        "f": 1,
        "i": 2,
        "s": 3,
        "t": 4,
        "g": 5,
        "floats": 6,
        "ints": 7,
        "strings": 8,
        "tensors": 9,
        "ref": 2,
        "none": 2,
    }
    made.type = declared[kind] if draw(st.integers(0, 5)) else draw(st.integers(0, 14))
    match kind:
        case "f":
            made.f = draw(st.floats(width=32))
        case "i":
            made.i = draw(_numbers)
        case "s":
            made.s = draw(st.sampled_from([b"SAME_UPPER", b"NOTSET", b"nearest", b"\xff", b""]))
        case "t":
            made.t.CopyFrom(draw(_tensors()))
        case "g":
            made.g.CopyFrom(subgraph(draw(st.integers(0, 30))))
        case "floats":
            made.floats.extend(draw(st.lists(st.floats(width=32), max_size=5)))
        case "ints":
            made.ints.extend(draw(st.lists(_numbers, max_size=5)))
        case "strings":
            made.strings.extend(draw(st.lists(st.binary(max_size=3), max_size=3)))
        case "tensors":
            made.tensors.extend(draw(st.lists(_tensors(), max_size=2)))
        case "ref":
            made.ref_attr_name = "outer"
    return made


KINDS = [*((kind, "") for kind in sorted(table())), *((kind, ONNX_DOMAIN) for kind in sorted(operators()))]
KINDS += [
    ("Constant", ""),
    ("Identity", ""),
    ("Dropout", ""),
    ("BatchNormalization", ""),
    ("If", ""),
    ("Loop", ""),
    ("ConstantOfShape", ""),
]
KINDS += [
    ("NoSuch", ""),
    ("NoSuch", "a.domain"),
    ("PythonOp", "ai.onnx.contrib"),
    ("f", "own"),
    ("Range", ""),
]


@st.composite
def _nodes(draw: st.DrawFn, names: st.SearchStrategy[str] = _names) -> NodeProto:
    kind, domain = draw(st.sampled_from(KINDS))
    reads, writes = draw(st.lists(names, max_size=5)), draw(st.lists(_names, max_size=2))
    node = NodeProto(op_type=kind, domain=domain, input=reads, output=writes, name=draw(_names))
    node.attribute.extend(draw(st.lists(_attributes(), max_size=4)))
    if draw(st.booleans()):
        node.metadata_props.add(key=MODULE_KEY, value=draw(_names))
    return node


NET_ARGUMENTS = [
    "",
    "[]",
    "null",
    "[" * 5000,
    "{",
    "{}",
    '{"<script>": "</script>"}',
    '{"a": 1}',
    '{"a": [0.5]}',
    '{"a": null}',
    '{"a": {}}',
    '{"a": [null]}',
    '{"a": NaN}',
    '{"a": 1e999}',
    '{"a": ' + "9" * 4000 + "}",
    '{"a": ["x"]}',
    '{"a": [1.5, "x"]}',
    '{"a": "\\ud800"}',
    '{"a": true}',
    '{"a": [1' + "0" * 30 + "]}",
    '{"' + "a" * 5000 + '": 1}',
    "9" * 9000,
    '{"a": 1e39}',
    '{"a": [1e39, 2]}',
    '{"\\ud800": 1}',
]
_NET_ARGUMENTS = st.sampled_from(NET_ARGUMENTS)


@st.composite
def _models(draw: st.DrawFn) -> bytes:
    """The valid model with some of it exchanged, and more in it."""
    model = ModelProto()
    model.CopyFrom(VALID)
    graph = model.graph
    for change in draw(
        st.lists(
            st.sampled_from(
                [
                    "node",
                    "attribute",
                    "input",
                    "output",
                    "tensor",
                    "initializer",
                    "more",
                    "constant",
                    "shape",
                    "net arguments",
                    "function",
                    "opset",
                    "sparse",
                    "order",
                    "drop",
                    "proto",
                    "type",
                    "quantized",
                    "op",
                    # With these it stays a model.
                    *["module", "rename", "net arguments"] * 3,
                ]
            ),
            min_size=1,
            max_size=2,
        )
    ):
        place = draw(st.integers(0, len(graph.node) - 1)) if graph.node else 0
        node = graph.node[place] if graph.node else graph.node.add(op_type="Relu", input=["data"], output=["y"])
        match change:
            case "node":
                node.CopyFrom(draw(_nodes()))
            case "attribute":
                node.attribute.append(draw(_attributes()))
            case "input":
                node.input.append(draw(_names))
                node.input[draw(st.integers(0, len(node.input) - 1))] = draw(_names)
            case "output":
                node.output.append(draw(_names))
            case "tensor" if graph.initializer:
                graph.initializer[0].CopyFrom(draw(_tensors()))
                graph.initializer[0].name = "w"
            case "initializer":
                graph.initializer.append(draw(_tensors()))
            case "more":
                graph.node.append(draw(_nodes()))
            case "constant":
                constant = helper.make_node("Constant", [], ["k"])
                constant.attribute.add(name="value", type=AttributeProto.TENSOR, t=draw(_tensors()))
                graph.node.insert(0, constant)
                graph.node.append(helper.make_node("Add", ["data", "k"], ["u"]))
            case "shape":
                info = helper.make_tensor_value_info(
                    draw(_names), draw(st.integers(0, 20)), draw(st.lists(_numbers | st.just("n"), max_size=4))
                )
                draw(st.sampled_from([graph.input, graph.output, graph.value_info])).append(info)
            case "net arguments":
                model.metadata_props[0].value = draw(_NET_ARGUMENTS)
            case "function":
                # One that may call itself.
                call = NodeProto(op_type="f", domain="own", input=["data"], output=["v"])
                function = helper.make_function(
                    "own", "f", ["x"], ["v"], [draw(st.just(call) | _nodes())], [helper.make_opsetid("", 21)]
                )
                model.functions.append(function)
                graph.node.append(call)
                if draw(st.booleans()):
                    model.opset_import.append(helper.make_opsetid("own", 1))
            case "opset":
                model.opset_import.add(
                    domain=draw(st.sampled_from(["", "a.domain", ONNX_DOMAIN])), version=draw(_numbers)
                )
            case "sparse":
                graph.sparse_initializer.add(
                    values=draw(_tensors()), indices=draw(_tensors()), dims=draw(st.lists(_numbers, max_size=3))
                )
            case "order":
                nodes = draw(st.permutations(list(graph.node)))
                del graph.node[:]
                graph.node.extend(nodes)
            case "drop":
                del graph.node[place : place + 1]
            case "proto":
                model.ir_version = draw(st.integers(3, 14) | _numbers)
            case "type" if graph.input:
                graph.input[0].type.Clear()
            case "quantized":
                graph.quantization_annotation.add(tensor_name=draw(_names))
            case "module":
                node.metadata_props.add(key=MODULE_KEY, value=draw(_names))
            case "rename" if node.output:
                old, new = node.output[0], draw(_names)
                for names in [names for each in graph.node for names in (each.input, each.output)]:
                    for index in [index for index, name in enumerate(names) if name == old]:
                        names[index] = new
            case "op":
                node.op_type = draw(st.sampled_from(KINDS))[0]
    return model.SerializeToString()


# Types of attributes: AttributeProto's numbers are the schemas' own. What mostly stands there, and what may.
_SMALL = st.integers(0, 3)
_SOUND: dict[int, st.SearchStrategy[Any]] = {
    AttributeProto.FLOAT: st.floats(0, 2, width=32),
    AttributeProto.INT: _SMALL,
    AttributeProto.STRING: st.sampled_from(["NOTSET", "nearest", "floor", "asymmetric"]),
    AttributeProto.FLOATS: st.lists(st.floats(0, 2, width=32), min_size=1, max_size=4),
    AttributeProto.INTS: st.lists(_SMALL, min_size=2, max_size=2) | st.lists(_SMALL, min_size=4, max_size=4),
}
_HOSTILE: dict[int, st.SearchStrategy[Any]] = {
    AttributeProto.FLOAT: st.floats(width=32, allow_nan=False),
    AttributeProto.INT: _numbers,
    AttributeProto.STRING: st.sampled_from(["SAME_UPPER", "linear", "", "DCR", b"\xff"]),
    AttributeProto.FLOATS: st.lists(st.floats(width=32), min_size=1, max_size=5),
    AttributeProto.INTS: st.lists(_numbers, min_size=1, max_size=6) | st.just([1] * 90),
}
_PYTHON_TYPES = {
    float: AttributeProto.FLOAT,
    int: AttributeProto.INT,
    bool: AttributeProto.INT,
    str: AttributeProto.STRING,
}
_PYTHON_TYPES |= {list[float]: AttributeProto.FLOATS, list[int]: AttributeProto.INTS}


# Inputs and attributes with which each has a Caffe2 form. `c` is what a first convolution gives.
_FITTING: dict[str, tuple[list[str], dict[str, Any]]] = {
    **dict.fromkeys(("Relu", "Sigmoid", "Exp", "Identity", "Dropout", "Flatten"), (["c"], {})),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), (["c", "c"], {})),
    "Conv": (["data", "w", "b"], {}),
    "ConvTranspose": (["c", "w"], {}),
    "BatchNormalization": (["c", "b", "b", "b", "b"], {}),
    **dict.fromkeys(("MaxPool", "AveragePool"), (["c"], {"kernel_shape": [2, 2]})),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), (["c"], {})),
    "Gemm": (["v", "g", "b"], {"transB": 1}),
    "GroupNormalization": (["c", "b", "b"], {"num_groups": 2}),
    "Reshape": (["c", "s"], {}),
    "Softmax": (["c"], {"axis": -1}),
    "Concat": (["c", "c"], {"axis": 1}),
    "Resize": (
        ["c", "", "h"],
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    ),
    "Constant": ([], {"value_floats": [0.5, 1.5]}),
    "Clip": (["c", "low", "high"], {}),
    "Pad": (["c", "p"], {"mode": "edge"}),
    "Transpose": (["c"], {"perm": [0, 2, 3, 1]}),
    "Cast": (["c"], {"to": TensorProto.INT64}),
    "Gather": (["c", "zero"], {"axis": 1}),
    "Slice": (["c", "zero", "one", "one", "one"], {}),
    "ReduceMean": (["c", "one"], {"keepdims": 0}),
    **dict.fromkeys(("Abs", "Elu", "Erf", "Gelu", "HardSigmoid", "LeakyRelu", "Log", "Mish", "Neg"), (["c"], {})),
    **dict.fromkeys(("Reciprocal", "Selu", "Sqrt", "Tanh"), (["c"], {})),
    **dict.fromkeys(("PRelu", "Pow"), (["c", "low"], {})),
    **dict.fromkeys(("ReduceSum", "ReduceMax", "ReduceMin"), (["c", "one"], {"keepdims": 0})),
    "MatMul": (["v", "g"], {}),
    "InstanceNormalization": (["c", "b", "b"], {}),
    "LayerNormalization": (["v", "b", "b"], {}),
    "Split": (["c"], {"axis": 1, "num_outputs": 1}),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), (["c", "zero"], {})),
    "Expand": (["c", "s"], {}),
    "Tile": (["c", "times"], {}),
    **{kind: (["c"] * len(defined.inputs), {}) for kind, defined in operators().items()},
}


def fitted(
    nodes: Sequence[NodeProto], numbers: Sequence[int] = (1, -1), sizes: Sequence[float] = (2.0, 2.0), size: Any = 2
) -> bytes:
    """A model with those nodes in it, and what they may read. What they give is not its output: it may be anything."""
    first = helper.make_node("Conv", ["data", "w", "b"], ["c"])
    last = helper.make_node("Flatten", ["c"], ["y"])
    shape = helper.make_tensor("s", TensorProto.INT64, [2], numbers)
    scales = helper.make_tensor("h", TensorProto.FLOAT, [4], [1, 1, *sizes])
    weights = [tensor("w", [2, 3, 1, 1]), tensor("b", [2]), tensor("g", [2, 2]), shape, scales]
    weights += [tensor("low", []), tensor("high", [])]
    places = {"p": [0, 0, 1, 1, 0, 0, 1, 1], "zero": [0], "one": [1], "times": [1, 1, 2, 1]}
    weights += [helper.make_tensor(name, TensorProto.INT64, [len(of)], of) for name, of in places.items()]
    model = model_of([first, *nodes, last], weights)
    model.graph.input.append(helper.make_tensor_value_info("m", TensorProto.FLOAT, ["rows", 5]))
    model.graph.input.append(helper.make_tensor_value_info("v", TensorProto.FLOAT, [1, size]))
    return model.SerializeToString()


@st.composite
def _fitting_models(draw: st.DrawFn) -> bytes:
    """Operators that have a Caffe2 form, each changed in one thing at most: they come past the checker."""
    there = ["data", "m", "v", "w", "b", "s", "h", "c", "low", "p", "zero", ""]
    nodes = []
    for index in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from([*table(), *operators(), "BatchNormalization", "Constant", "Identity", "Dropout"]))
        reads, attributes = (given.copy() for given in _FITTING[kind])
        if kind in operators():
            domain, outputs = ONNX_DOMAIN, len(operators()[kind].outputs)
            types = {name: _PYTHON_TYPES[given.type] for name, given in operators()[kind].arguments.items()}
        else:
            schema = onnx.defs.get_schema(kind, 21, "")
            domain, outputs = "", schema.min_output
            types = {name: int(given.type.value) for name, given in schema.attributes.items()}
        types = {name: given for name, given in types.items() if given in _SOUND}
        match draw(st.sampled_from(["nothing", "attribute", "hostile attribute", "input", "own"])):
            case "attribute" | "hostile attribute" as change if types:
                name = draw(st.sampled_from(sorted(types)))
                attributes[name] = draw((_SOUND if change == "attribute" else _HOSTILE)[types[name]])
            case "input" if reads:
                reads[draw(st.integers(0, len(reads) - 1))] = draw(st.sampled_from(there))
            case "own":
                reads = [f"o{index - 1}_0" if name == "c" and index else name for name in reads]
        writes = [f"o{index}_{place}" for place in range(outputs)]
        nodes.append(helper.make_node(kind, reads, writes, domain=domain, **attributes))
        there += writes
    numbers = draw(st.just([1, -1]) | st.tuples(_numbers, _numbers))
    sizes = draw(st.just([2.0, 2.0]) | st.lists(st.floats(width=32), min_size=2, max_size=2))
    return fitted(nodes, numbers, sizes, draw(st.sampled_from([2, "k"])))


AROUND = {
    "weights.bin": b"\0" * 64,
    "link.bin": ("link", "../outside/secret"),
    "hard.bin": ("hard link", "weights.bin"),
    "up": ("link", ".."),
    "zero": ("link", "/dev/zero"),
    "pipe": ("pipe", ""),
}
_SPECIAL = st.sampled_from(
    [("pipe", ""), ("folder", ""), ("link", "/dev/zero"), ("link", "model.onnx"), ("link", "../outside/pipe")]
)


def fuzz_with_files_around(
    fuzz: Any, contents: st.SearchStrategy[Any], known: Sequence[bytes], reader: str = "onnx"
) -> dict[str, int]:
    valid = VALID.SerializeToString()
    if reader == "standard_onnx":
        valid, contents, known = standard(valid), contents.map(standard), [standard(content) for content in known]
    inputs = contents.map(lambda content: ({"model.onnx": content, **AROUND}, []))
    known_inputs = [({"model.onnx": content, **AROUND}, []) for content in known]
    tried: dict[str, int] = fuzz(reader, ({"model.onnx": valid, **AROUND}, []), inputs, known_inputs)
    return tried


def standard(content: Any) -> Any:
    """A model that says it is of ONNX's own operators alone; what is no model stays."""
    try:
        model = ModelProto.FromString(content)
    except (DecodeError, TypeError):
        return content
    opsets = [each for each in model.opset_import if each.domain != ONNX_DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    return model.SerializeToString()


@pytest.mark.parametrize("reader", ["onnx", "standard_onnx"])
def test_a_hostile_onnx_file_is_converted_or_refused_in_one_line(
    fuzz: Any, mutated: Changed, mixed: Mixed, reader: str
) -> None:
    valid = VALID.SerializeToString()
    known = []
    for text in NET_ARGUMENTS:
        model = ModelProto.FromString(valid)
        model.metadata_props[0].value = text
        known.append(model.SerializeToString())
    # What is no text. Its length is that of the text.
    known += [
        valid.replace(text, b"\xff" * len(text)) for text in (b"backbone", b"data", b"Conv", b"epsilon", b"height")
    ]
    # Of each type, with as many numbers as it says and with too few.
    numbers = [
        TensorProto(dims=[2], data_type=kind, raw_data=b"\0" * size) for kind in range(26) for size in (16, 8, 1)
    ]
    known += [with_tensor(each, "constant") for each in numbers]
    fuzz_with_files_around(fuzz, mixed((8, _models()), (1, mutated(st.just(valid))), (1, _SPECIAL)), known, reader)


@pytest.mark.parametrize("reader", ["onnx", "standard_onnx"])
def test_hostile_operators_in_an_onnx_file_are_converted_or_refused_in_one_line(
    fuzz: Any, mutated: Changed, mixed: Mixed, reader: str
) -> None:
    fitting = _fitting_models()
    assert _FITTING.keys() >= {*table(), *operators()}
    known = []
    for kind, (reads, attributes) in _FITTING.items():
        domain = ONNX_DOMAIN if kind in operators() else ""
        for given in (reads[:count] for count in range(len(reads) + 1)):
            known.append(fitted([helper.make_node(kind, given, ["o"], domain=domain, **attributes)]))
    # The checker makes room for as many outputs as it says.
    known.append(fitted([helper.make_node("Split", ["c"], ["o"], axis=1, num_outputs=2**31 - 1)]))
    # A shape that is computed, by what the checker knows no types of.
    computed = helper.make_node("BatchPermutation", ["c", "c"], ["p"], domain=ONNX_DOMAIN)
    known.append(fitted([computed, helper.make_node("Reshape", ["c", "p"], ["o"])]))
    fuzz_with_files_around(fuzz, mixed((9, fitting), (1, mutated(fitting))), known, reader)


@pytest.mark.parametrize("reader", ["onnx", "standard_onnx"])
def test_an_onnx_file_whose_numbers_lie_elsewhere_is_refused_and_nothing_is_read_there(fuzz: Any, reader: str) -> None:
    made = st.builds(with_tensor, _external(), st.sampled_from(PLACES))
    known = [with_tensor(elsewhere(location), place) for location in LOCATIONS for place in PLACES]
    assert fuzz_with_files_around(fuzz, made, known, reader)["value"] == 0
