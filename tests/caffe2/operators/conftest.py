"""One operator in the torch runtime and in genuine Caffe2, on cases that hypothesis draws."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import roastery.peer_child
from roastery.caffe2 import array_frames
from roastery.caffe2.caffe2_runtime import find_caffe2_python
from roastery.caffe2.nets import Nets
from roastery.caffe2.torch_runtime import TorchRuntime
from roastery.errors import ModelFileError, OperatorError, RuntimeFailed, UnsupportedOperator
from roastery.peer import Peer

Arrays = list[NDArray[Any]]
Case = tuple[Arrays, dict[str, Any], int]
"""The inputs, the arguments, and how many outputs are asked for."""
EXAMPLES = int(os.environ.get("ROASTERY_OPERATOR_EXAMPLES", "50"))
RELATIVE = 1e-4
REFUSALS = (OperatorError, ModelFileError, UnsupportedOperator, RuntimeFailed)


class GenuineCaffe2:
    """Genuine Caffe2 in a process that stays, and is started again where an operator has crashed it."""

    def __init__(self) -> None:
        script = str(Path(__file__).with_name("operator_worker.py"))
        command = [str(find_caffe2_python()), "-I", "-u", script, roastery.peer_child.__file__, array_frames.__file__]
        self._peer = Peer(command, {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}, "genuine Caffe2")

    def run(self, nets: Nets, inputs: dict[str, NDArray[Any]]) -> Arrays | None:
        """The outputs of the net's one operator; None where Caffe2 refuses it.

        Raises:
            RuntimeFailed: the operator crashed the process.
        """
        (operator,) = nets.predict_net.op
        request = array_frames.pack({"operator": operator.SerializeToString().hex()}, inputs)
        header, arrays = array_frames.unpack(self._peer.call(request, 60.0))
        if "refused" in header:
            note(f"Caffe2 refuses: {header['refused']}")
            return None
        return [np.array(arrays[name]) for name in operator.output]

    def close(self) -> None:
        self._peer.close()


@pytest.fixture(scope="session")
def genuine() -> Iterator[GenuineCaffe2]:
    caffe2 = GenuineCaffe2()
    yield caffe2
    caffe2.close()


def run_ours(nets: Nets, inputs: dict[str, NDArray[Any]]) -> Arrays | None:
    """What our kernel gives; None where it refuses."""
    try:
        with TorchRuntime(nets) as runtime:
            outputs = runtime.run(inputs)
    except REFUSALS as error:
        note(f"we refuse: {error}")
        return None
    return [outputs[name] for name in nets.predict_net.op[0].output]


def difference(ours: NDArray[Any], theirs: NDArray[Any]) -> str:
    """What is different, or nothing: types and shapes are the same, whole numbers equal, others to 1e-4 relative."""
    if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
        return f"{ours.shape} {ours.dtype}, not {theirs.shape} {theirs.dtype}"
    if ours.dtype.kind != "f":
        return "" if np.array_equal(ours, theirs) else f"{ours.tolist()}, not {theirs.tolist()}"
    finite = np.abs(theirs[np.isfinite(theirs)])
    # What is left of numbers that cancel out is as exact as they were.
    smallest = 1e-5 * float(finite.max(initial=0.0))
    close = np.isclose(ours, theirs, rtol=RELATIVE, atol=smallest, equal_nan=True)
    if close.all():
        return ""
    place = tuple(int(index) for index in np.argwhere(~close)[0])
    return f"{(~close).sum()} of {close.size} differ, at {place} {ours[place]} is not {theirs[place]}"


Hold = Callable[[str, st.SearchStrategy[Case]], None]


@pytest.fixture
def hold(genuine: GenuineCaffe2, make_nets: Callable[..., Nets]) -> Hold:
    """`hold(operator, cases)`: ours gives what genuine Caffe2 gives, and refuses what it refuses, in every case."""

    def check(operator: str, cases: st.SearchStrategy[Case]) -> None:
        answered = tried = 0

        @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
        @given(cases)
        def held(case: Case) -> None:
            nonlocal answered, tried
            arrays, arguments, count = case
            inputs = {f"in{number}": array for number, array in enumerate(arrays)}
            outputs = [f"out{number}" for number in range(count)]
            nets = make_nets([(operator, list(inputs), outputs, arguments)], list(inputs), outputs)
            theirs = genuine.run(nets, inputs)
            ours = run_ours(nets, inputs)
            tried += 1
            if theirs is None or ours is None:
                assert ours is theirs, f"{operator} {arguments}: only one of them refuses"
                return
            answered += 1
            for number, (our, their) in enumerate(zip(ours, theirs, strict=True)):
                problem = difference(our, their)
                assert not problem, f"{operator} {arguments}, output {number}: {problem}"

        held()
        # Refusing everything would be no agreement.
        assert answered > 0.8 * tried, f"{answered} of {tried} cases were answered"

    return check
