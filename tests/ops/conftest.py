"""What the operators' tests share: random boxes, and genuine Caffe2 for a batch of cases."""

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from roastery.caffe2.caffe2_runtime import find_caffe2_python
from roastery.ops.std_sort import _sort

RandomBoxes = Callable[..., NDArray[np.float32]]


@pytest.fixture(scope="session")
def random_boxes() -> RandomBoxes:
    """`random_boxes(generator, count, height, width)`: (count, 4) float32 xyxy that overlap often."""

    def make(generator: np.random.Generator, count: int, height: float = 90, width: float = 120) -> NDArray[np.float32]:
        centres = generator.uniform((0, 0), (width, height), (count, 2))
        sides = np.exp(generator.uniform(np.log(2), np.log(60), (count, 2)))
        boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
        return boxes.clip(0, (width, height, width, height)).astype(np.float32)

    return make


class Gas:
    """An element whose place is settled only when a sort compares it, so that each pivot turns out a bad one.

    M. D. McIlroy, "A killer adversary for quicksort", Software: Practice and Experience 29 (1999).
    """

    settled = 0
    candidate: "Gas | None" = None

    def __init__(self) -> None:
        self.place: int | None = None

    def __gt__(self, other: "Gas") -> bool:
        if self.place is None and other.place is None:
            (self if self is Gas.candidate else other).settle()
        if self.place is None:
            Gas.candidate = self
        elif other.place is None:
            Gas.candidate = other
        # What has no place yet comes last.
        return other.place is None or (self.place is not None and self.place < other.place)

    def __lt__(self, other: "Gas") -> bool:
        return other > self

    def settle(self) -> None:
        self.place = Gas.settled
        Gas.settled += 1


@pytest.fixture(scope="session")
def worst_scores() -> Callable[[int], NDArray[np.float32]]:
    """`worst_scores(count)`: (count,) scores, tied by twos, on which libstdc++'s sort runs out of depth."""

    def make(count: int) -> NDArray[np.float32]:
        Gas.settled, Gas.candidate = 0, None
        items = [Gas() for _ in range(count)]
        _sort(list(items))
        scores = [float(count if item.place is None else item.place) for item in items]
        # Neighbours in pairs: ties that do not change where the pivots fall.
        return -np.array(scores, np.float32) // 2

    return make


@dataclass(frozen=True)
class Case:
    """One run of one operator."""

    op: str
    inputs: tuple[NDArray[Any], ...]
    arguments: dict[str, Any]
    outputs: int = 1


Answers = list[list[NDArray[Any]] | None]


@pytest.fixture(scope="session")
def ask_caffe2(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[Case]], Answers]:
    """`ask_caffe2(cases)`: what genuine Caffe2 gives for each, None where it refuses. One process for all."""

    def ask(cases: Sequence[Case]) -> Answers:
        folder = tmp_path_factory.mktemp("caffe2")
        described = []
        for index, case in enumerate(cases):
            np.savez(folder / f"{index}.npz", **{f"in{i}": array for i, array in enumerate(case.inputs)})
            n_in = len(case.inputs)
            described.append({"op": case.op, "n_in": n_in, "n_out": case.outputs, "args": case.arguments})
        (folder / "cases.json").write_text(json.dumps(described))
        script = Path(__file__).parent / "answer_with_caffe2.py"
        subprocess.run(
            [str(find_caffe2_python()), str(script), str(folder)], check=True, capture_output=True, timeout=120
        )
        answers: Answers = []
        for index, case in enumerate(cases):
            answer = folder / f"{index}.answer.npz"
            outputs = np.load(answer) if answer.exists() else None
            answers.append(outputs and [outputs[f"out{i}"] for i in range(case.outputs)])
        return answers

    return ask


@pytest.fixture(scope="session")
def case_type() -> type[Case]:
    return Case
