"""A model.pt2 is hostile until checked: what could execute is refused before PyTorch reads it."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from roastery.errors import ModelFileError
from roastery.export.program_check import _is_arithmetic
from roastery.export.trace import load_program

Change = Callable[[dict[str, bytes]], None]
GRAPH = "model/models/model.json"
WEIGHTS = "model/data/weights/model_weights_config.json"


class Payload:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def _pickled_weight(mark: Path) -> Change:
    def change(files: dict[str, bytes]) -> None:
        config = json.loads(files[WEIGHTS])
        first = next(iter(config["config"].values()))
        first["use_pickle"] = True
        buffer = io.BytesIO()
        torch.save(Payload(mark), buffer)
        files[f"model/data/weights/{first['path_name']}"] = buffer.getvalue()
        files[WEIGHTS] = json.dumps(config).encode()

    return change


def _pickled_object(mark: Path) -> Change:
    def change(files: dict[str, bytes]) -> None:
        name = "model/data/constants/model_constants_config.json"
        config = json.loads(files[name])
        config["config"]["x"] = {**next(iter(config["config"].values())), "path_name": "custom_obj_0"}
        files[name] = json.dumps(config).encode()
        files["model/data/constants/custom_obj_0"] = pickle.dumps(Payload(mark))

    return change


def _graph(alter: Callable[[Any], None]) -> Change:
    def change(files: dict[str, bytes]) -> None:
        graph = json.loads(files[GRAPH])
        alter(graph)
        files[GRAPH] = json.dumps(graph).encode()

    return change


def _guards(mark: Path) -> Change:
    return _graph(lambda graph: graph.update(guards_code=[f"open({str(mark)!r}, 'w') is None"]))


def _expression(mark: Path) -> Change:
    def alter(graph: Any) -> None:
        text = json.dumps(graph["graph_module"])
        known = next(value for value in text.split('"expr_str": "')[1:]).split('"')[0]
        evil = f"__import__('pathlib').Path('{mark}').touch()"
        graph["graph_module"] = json.loads(text.replace(f'"expr_str": "{known}"', f'"expr_str": "{evil}"'))

    return _graph(alter)


def _target(mark: Path) -> Change:
    def alter(graph: Any) -> None:
        graph["graph_module"]["graph"]["nodes"][0]["target"] = "torch.load"

    return _graph(alter)


def _library(mark: Path) -> Change:
    return lambda files: files.update({"model/data/aotinductor/model/x.so": b"\x7fELF"})


def _sample_inputs(mark: Path) -> Change:
    return lambda files: files.update({"model/data/sample_inputs/model.pt": pickle.dumps(Payload(mark))})


def _range(mark: Path) -> Change:
    return _graph(lambda graph: graph["range_constraints"].update({f"open('{mark}', 'w')": {"min_val": 0}}))


@pytest.mark.parametrize(
    "attack",
    [_pickled_weight, _pickled_object, _guards, _expression, _target, _library, _sample_inputs, _range],
    ids=lambda attack: attack.__name__.strip("_"),
)
def test_a_program_that_could_execute_something_is_refused_and_nothing_ran(
    converted: Callable[[str], Path], box_model: Path, tmp_path: Path, attack: Callable[[Path], Change]
) -> None:
    with zipfile.ZipFile(converted(box_model.name) / "model.pt2") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    attack(tmp_path / "mark")(files)
    with zipfile.ZipFile(tmp_path / "model.pt2", "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(ModelFileError, match="not a program that Roastery traced") as refused:
        load_program(tmp_path / "model.pt2")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "mark").exists()


def test_the_pickles_of_these_tests_would_leave_their_mark(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


def test_a_program_in_torchs_older_format_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as archive:
        archive.writestr("version", "8.0")
        archive.writestr("serialized_state_dict.pt", pickle.dumps(Payload(tmp_path / "mark")))
    with pytest.raises(ModelFileError):
        load_program(tmp_path / "model.pt2")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("Mul(Integer(32), Symbol('s99', positive=True, integer=True))", True),
        ("Add(FloorDiv(Symbol('s1', integer=True), Integer(64)), Integer(-1))", True),
        ("GreaterThan(Symbol('u0', integer=True), Integer(0))", True),
        ("Symbol('__class__')", False),
        ("Symbol('s1', integer=open('x'))", False),
        ("eval('1')", False),
        ("Integer(1).__class__", False),
        ("Add(*[Integer(1)])", False),
        ("[Integer(1) for x in ()]", False),
        ("lambda: 1", False),
        ("Integer('1')", False),
        ("Add(" * 5000, False),
    ],
)
def test_an_expression_is_arithmetic_on_sizes_or_refused(expression: str, allowed: bool) -> None:
    assert _is_arithmetic(expression) is allowed
