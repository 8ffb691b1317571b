"""What the tests of NetDefs share: small nets written down in a line."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.nets import Nets

# Type, inputs, outputs, arguments.
OperatorLine = tuple[str, Sequence[str], Sequence[str], Mapping[str, Any]]
MakeNets = Callable[..., Nets]


def _argument(name: str, value: Any) -> caffe2_pb2.Argument:
    if isinstance(value, str):
        return caffe2_pb2.Argument(name=name, s=value.encode())
    if isinstance(value, float):
        return caffe2_pb2.Argument(name=name, f=value)
    if isinstance(value, int):
        return caffe2_pb2.Argument(name=name, i=value)
    if any(isinstance(item, float) for item in value):
        return caffe2_pb2.Argument(name=name, floats=value)
    return caffe2_pb2.Argument(name=name, ints=value)


@pytest.fixture(scope="session")
def make_nets() -> MakeNets:
    """`make_nets(operators, inputs, outputs, parameters)`: float32 parameters are filled by the init net."""

    def make(
        operators: Sequence[OperatorLine],
        inputs: Sequence[str] = ("data",),
        outputs: Sequence[str] = ("y",),
        parameters: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> Nets:
        parameters = parameters or {}
        predict = caffe2_pb2.NetDef(name="net", external_input=[*inputs, *parameters], external_output=outputs)
        for type_, reads, writes, arguments in operators:
            predict.op.add(
                type=type_, input=reads, output=writes, arg=[_argument(name, v) for name, v in arguments.items()]
            )
        initial = caffe2_pb2.NetDef(name="init", external_output=list(parameters))
        for name, array in parameters.items():
            values = [_argument("shape", list(array.shape)), caffe2_pb2.Argument(name="values", floats=array.ravel())]
            initial.op.add(type="GivenTensorFill", output=[name], arg=values)
        return Nets(predict, initial)

    return make
