"""Every operator lowered to standard ONNX gives what its kernel gives: in ONNX Runtime, and in ONNX's own reference."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from hypothesis import assume, given
from onnx import helper
from onnx.reference import ReferenceEvaluator

import roastery.ops  # noqa: F401  (defines the operators)
from roastery.errors import OperatorError, UnsupportedOperator
from roastery.onnx_runtime.lower import standard_onnx
from roastery.ops.definition import ONNX_DOMAIN, ONNX_DOMAIN_VERSION, operators

GOLDEN = Path(__file__).parent.parent / "golden" / "ops"
# Of as many images as an axis says; every other first axis is as long as it comes.
OF_IMAGES = {("BBoxTransform", 2), ("GenerateProposals", 2), ("BoxWithNMSLimit", 2)}
# Where scores tie, Caffe2 takes the order that libstdc++'s sort leaves; what is chosen then is no promise of ONNX.
SCORES = {"BoxWithNMSLimit": (0,), "GenerateProposals": (0,), "TopK": (0,)}
PARTED = {
    *(("BoxWithNMSLimit", "ties_on_thresh"), ("BoxWithNMSLimit", "ties_limit20")),
    *(("GenerateProposals", "ties"), ("GenerateProposals", "nan_scores")),
}
# The reference pools in Python, sample by sample.
MOST_SAMPLES = 3000
Arrays = list[np.ndarray[Any, Any]]


def whole_model(operator: str, inputs: Arrays, arguments: dict[str, Any], count: int) -> ir.Model:
    """A model of one node in Caffe2's domain."""
    names = [f"in{number}" for number in range(len(inputs))]
    outputs = [f"out{number}" for number in range(count)]
    infos = []
    for number, (name, array) in enumerate(zip(names, inputs, strict=True)):
        shape: list[int | str | None] = list(array.shape)
        if shape and (operator, number) not in OF_IMAGES:
            shape[0] = f"n{number}"
        infos.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape))
    node = helper.make_node(operator, names, outputs, domain=ONNX_DOMAIN)
    for argument in operators()[operator].arguments.values():
        given = {**node_defaults(operator), **arguments}[argument.name]
        attribute = argument.default_attribute()
        made = helper.make_attribute(argument.name, argument.to_attribute(given), attr_type=attribute.type)
        node.attribute.append(made)
    graph = helper.make_graph([node], "one", infos, [helper.make_empty_tensor_value_info(name) for name in outputs])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(ONNX_DOMAIN, ONNX_DOMAIN_VERSION)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def node_defaults(operator: str) -> dict[str, Any]:
    return {argument.name: argument.default for argument in operators()[operator].arguments.values()}


def kernel_of(operator: str, inputs: Arrays, arguments: dict[str, Any], count: int) -> Arrays:
    """What the kernel gives; a case that it refuses is none."""
    definition = operators()[operator]
    kinds = {name: argument.type for name, argument in definition.arguments.items()}
    typed = {name: kinds[name](value) if kinds[name] is bool else value for name, value in arguments.items()}
    tensors = [torch.from_numpy(array) for array in inputs]
    try:
        outputs = definition.kernel(tensors, **typed) if definition.takes_list else definition.kernel(*tensors, **typed)
    except OperatorError:
        assume(False)
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))][:count]


def lowered_model(model: ir.Model) -> onnx.ModelProto:
    """Lowered, and passed by every check that a whole model passes."""
    proto = ir.to_proto(standard_onnx(model))
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", 21)]
    # The types of outputs were not said: inference finds them.
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    onnx.checker.check_model(inferred, full_check=True)
    return inferred


def in_runtime(proto: onnx.ModelProto, inputs: Arrays) -> Arrays:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: Arrays = session.run(None, {f"in{number}": array for number, array in enumerate(inputs)})
    return found


def in_reference(proto: onnx.ModelProto, inputs: Arrays) -> Arrays:
    found: Arrays = ReferenceEvaluator(proto).run(None, {f"in{number}": array for number, array in enumerate(inputs)})
    return found


def assert_same(ours: Arrays, expected: Arrays) -> None:
    """Types and shapes are the same, whole numbers equal, others to 1e-4 relative."""
    assert len(ours) == len(expected)
    for mine, theirs in zip(ours, expected, strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        finite = np.abs(theirs[np.isfinite(theirs)])
        smallest = 1e-5 * float(finite.max(initial=0.0))
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=smallest, equal_nan=True)


def untied(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same order, of equal ones the earlier first, with no two equal; in (0, 1)."""
    order = np.argsort(-scores.ravel(), kind="stable")
    values = np.empty(scores.size, np.float32)
    values[order] = (np.arange(scores.size, 0, -1) - 0.5) / max(scores.size, 1)
    return values.reshape(scores.shape)


def without_what_onnx_leaves_open(operator: str, inputs: Arrays) -> Arrays:
    if operator == "CollectRpnProposals":
        levels = len(inputs) // 2
        together = untied(np.concatenate(inputs[levels:]))
        parts = np.split(together, np.cumsum([len(part) for part in inputs[levels:]])[:-1])
        return [*inputs[:levels], *parts]
    chosen = SCORES.get(operator, ())
    assume(not any(np.isnan(inputs[number]).any() for number in chosen))
    return [untied(array) if number in chosen else array for number, array in enumerate(inputs)]


def as_lowered(operator: str, outputs: Arrays) -> Arrays:
    """Of a box of no size RoiAlign gives 0, where Caffe2's gives NaN."""
    return [np.nan_to_num(output, nan=0.0) for output in outputs] if operator == "RoIAlign" else outputs


def samples_of(operator: str, outputs: Arrays) -> int:
    return outputs[0].size * 16 if operator == "RoIAlign" else 0


def test_every_operator_has_a_lowering() -> None:
    assert [name for name, operator in operators().items() if operator.lower is None] == []


@pytest.mark.parametrize("operator", sorted(operators()))
def test_a_lowered_operator_gives_what_its_kernel_gives(operator: str, detection_cases: Any) -> None:
    compared = 0

    @given(detection_cases[operator])
    def held(case: Any) -> None:
        nonlocal compared
        inputs, arguments, count = case
        assume(not arguments.get("soft_nms_enabled"))
        inputs = without_what_onnx_leaves_open(operator, inputs)
        expected = as_lowered(operator, kernel_of(operator, inputs, arguments, count))
        proto = lowered_model(whole_model(operator, inputs, arguments, count))
        assert_same(in_runtime(proto, inputs), expected)
        if samples_of(operator, expected) <= MOST_SAMPLES:
            assert_same(in_reference(proto, inputs), expected)
        compared += 1

    held()
    assert compared > 20


def golden_cases() -> list[Any]:
    """What genuine Caffe2 answered; where it died, or read foreign memory, no lowering has to do the same."""
    by_operator = json.loads((GOLDEN / "cases.json").read_text())
    cases = [case for name in sorted(operators()) for case in by_operator.get(name, ())]
    answered = [case for case in cases if "process_died_with_status" not in case and case["case"] != "bad_index"]
    told = [case for case in answered if (case["op"], case["case"]) not in PARTED]
    return [pytest.param(case, id=f"{case['op']}-{case['case']}") for case in told]


@pytest.mark.parametrize("case", golden_cases())
def test_a_lowered_operator_gives_what_genuine_caffe2_gave(case: dict[str, Any]) -> None:
    arrays = np.load(GOLDEN / case["op"] / f"{case['case']}.npz")
    inputs = [arrays[f"in{number}"] for number in range(case["n_in"])]
    expected = [arrays[name] for name in sorted(arrays.files) if name.startswith("out")]
    model = whole_model(case["op"], inputs, case["args"], case["n_out"])
    if case["args"].get("soft_nms_enabled"):
        with pytest.raises(UnsupportedOperator, match="BoxWithNMSLimit: soft NMS has no form in standard ONNX"):
            standard_onnx(model)
        return
    proto = lowered_model(model)
    expected = as_lowered(case["op"], expected)
    assert_same(in_runtime(proto, inputs), expected)
    if samples_of(case["op"], expected) <= MOST_SAMPLES:
        assert_same(in_reference(proto, inputs), expected)


@pytest.mark.parametrize(
    ("operator", "arguments", "told"),
    [
        ("BoxWithNMSLimit", {"rotated": True}, "BoxWithNMSLimit: a rotated box"),
        ("BBoxTransform", {"rotated": True}, "BBoxTransform: a rotated box"),
        ("TopK", {"k": 0}, "TopK: k 0"),
    ],
)
def test_what_has_no_standard_form_is_refused_in_one_line(operator: str, arguments: dict[str, Any], told: str) -> None:
    inputs = [np.zeros((3, 5), np.float32)] * (3 if operator == "BBoxTransform" else 2)
    model = whole_model(operator, inputs[:1] if operator == "TopK" else inputs, arguments, 1)
    model.graph[0].metadata_props["roastery.module"] = "roi_heads"
    with pytest.raises(UnsupportedOperator) as refused:
        standard_onnx(model)
    assert str(refused.value) == (
        f"module 'roi_heads': {told} has no form in standard ONNX here; convert for another runtime"
    )


def test_a_count_of_images_that_is_not_known_is_refused() -> None:
    inputs = [np.zeros(shape, np.float32) for shape in ((3, 5), (3, 4), (2, 3))]
    model = whole_model("BBoxTransform", inputs, {}, 2)
    model.graph.inputs[2].shape = ir.Shape(["n", 3])
    with pytest.raises(UnsupportedOperator, match="BBoxTransform: in standard ONNX axis 0 of im_info must have"):
        standard_onnx(model)


def test_an_operator_of_a_strange_domain_is_refused_with_its_module_and_line() -> None:
    model = whole_model("ReplaceNaN", [np.zeros(3, np.float32)], {}, 1)
    model.graph[0].domain = "com.strange"
    model.graph[0].metadata_props.update({"roastery.module": "head", "roastery.place": "heads.py:3: y = f(x)"})
    with pytest.raises(UnsupportedOperator) as refused:
        standard_onnx(model)
    assert str(refused.value) == (
        "module 'head' (heads.py:3: y = f(x)): operator 'ReplaceNaN' of domain 'com.strange' has no form in standard "
        "ONNX; convert for another runtime"
    )
