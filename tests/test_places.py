"""Errors about operators of a user's module name its line, and no file names a folder for it."""

import inspect
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import onnx
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import roastery
from roastery.caffe2.convert import convert
from roastery.detectors.backbone import Backbone, ShapeSpec
from roastery.detectors.detector import Detector
from roastery.errors import UnsupportedOperator
from roastery.export.onnx import export_onnx, load_onnx, save_onnx
from roastery.export.trace import load_program, save_program, trace
from roastery.metadata import PLACE_KEY
from roastery.places import called_from, known_place, place_of


class Pixels(Backbone):
    """The image as its own map, whatever its size."""

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"pixels": ShapeSpec(channels=3, stride=1)}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"pixels": x}


class Net(Detector):
    """A detector of one module over the pixels."""

    meta_architecture = "Net"

    def __init__(self, head: nn.Module) -> None:
        super().__init__(Pixels(), [0.0] * 3, [1.0] * 3)
        self.head = nn.Sequential(nn.ReLU(), head)

    def output_names(self, batch: int) -> list[str]:
        return ["y"]

    def forward(self, data: Tensor, im_info: Tensor) -> tuple[Tensor, ...]:
        return (self.head(self.features(data)["pixels"]),)


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1


class Spectrum(nn.Module):
    """ONNX has its operator, Caffe2 does not."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + 1
        y = torch.fft.fft2(x).real
        return y * 2


class Factorials(nn.Module):
    """ONNX does not have its operator."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + 1
        y = torch.special.gammaln(x)
        return y * 2


class WholeNumbers(nn.Module):
    """Refused by a translation of our own."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + 1
        y = torch.clamp(x.to(torch.int32), 0, 5)
        return y * 2


class ToAnySize(nn.Module):
    """By a factor that is another one for every image."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + 1
        y = F.interpolate(x, size=(7, 7))
        return y * 2


def _place_of_y(module: type[nn.Module]) -> str:
    lines, first = inspect.getsourcelines(module)
    (found,) = (number for number, line in enumerate(lines, first) if "y = " in line)
    return f"{Path(__file__).name}:{found}: {lines[found - first].strip()}"


def _written(head: nn.Module, folder: Path) -> Path:
    """model.pt2 and model.onnx of a detector with this head, each read again before the next is made."""
    save_program(trace(Net(head), {}), folder / "model.pt2")
    save_onnx(export_onnx(load_program(folder / "model.pt2")), folder / "model.onnx")
    return folder


def test_an_operator_without_a_caffe2_form_is_named_with_its_module_and_line(tmp_path: Path) -> None:
    model = load_onnx(_written(Spectrum(), tmp_path) / "model.onnx")
    with pytest.raises(UnsupportedOperator, match=r"operator \w+ has no Caffe2 form") as refused:
        convert(model)
    assert str(refused.value).startswith(f"module 'head.1' ({_place_of_y(Spectrum)}): ")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (Factorials, "the operator 'prims.lgamma.default' has no ONNX form: No ONNX function found"),
        (ToAnySize, "a map of "),
        (WholeNumbers, "the operator 'aten.clamp.Tensor' has no ONNX form: whole numbers cannot be clamped"),
    ],
)
def test_an_operator_without_an_onnx_form_is_named_with_its_module_and_line(
    tmp_path: Path, head: type[nn.Module], said: str
) -> None:
    save_program(trace(Net(head()), {}), tmp_path / "model.pt2")
    with pytest.raises(UnsupportedOperator) as refused:
        export_onnx(load_program(tmp_path / "model.pt2"))
    assert str(refused.value).startswith(f"module 'head.1' ({_place_of_y(head)}): {said}")


def test_a_place_that_a_file_tells_is_one_or_is_not_told(tmp_path: Path) -> None:
    proto = onnx.load(_written(Spectrum(), tmp_path) / "model.onnx")
    for node in proto.graph.node:
        for entry in node.metadata_props:
            if entry.key == PLACE_KEY:
                entry.value = "/etc/passwd:1: \x1b[2J"
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(UnsupportedOperator, match=r"^module 'head\.1': operator"):
        convert(load_onnx(tmp_path / "model.onnx"))


def test_files_of_a_users_module_hold_no_folder(tmp_path: Path) -> None:
    folder = _written(Plain(), tmp_path)
    folders = [str(Path(__file__).parent), str(Path(torch.__file__).parent), str(Path(roastery.__file__).parent)]
    told = "test_places.py:"
    with zipfile.ZipFile(folder / "model.pt2") as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    contents.append((folder / "model.onnx").read_bytes())
    assert sum(told.encode() in content for content in contents) == 2
    for content in contents:
        for absolute in [*folders, 'File "', "site-packages", str(tmp_path), str(Path.home()), "tests/"]:
            assert absolute.encode() not in content


_WRITE = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("test_places", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
module._written(module.Plain(), Path(sys.argv[2]))
"""


def test_files_of_a_users_module_repeat_to_the_byte_wherever_its_source_lies(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(roastery.__file__).parents[1])}
    folders = [tmp_path / "one", tmp_path / "other" / "deeper"]
    for seed, folder in enumerate(folders, 1):
        folder.mkdir(parents=True)
        source = folder / Path(__file__).name
        source.write_text(Path(__file__).read_text())
        subprocess.run(
            [sys.executable, "-c", _WRITE, str(source), str(folder)],
            check=True,
            capture_output=True,
            env={**environment, "PYTHONHASHSEED": str(seed)},
        )
    for name in ("model.pt2", "model.onnx"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_the_innermost_line_of_a_user_is_told_though_pytorch_is_inside_of_it() -> None:
    inside = Path(torch.__file__).parent / "nn" / "modules" / "activation.py"
    own = Path(roastery.__file__).parent / "detectors" / "detector.py"
    trace_of_a_node = (
        f'File "{own}", line 3, in forward\n    return self.head(x)\n'
        '  File "/home/somebody/a folder/heads.py", line 12, in forward\n    return self.act(self.conv(x))\n'
        f'  File "{inside}", line 143, in forward\n    return F.relu(input)'
    )
    assert called_from(trace_of_a_node) == "heads.py:12: return self.act(self.conv(x))"
    assert called_from(trace_of_a_node.splitlines()[0]) == ""
    assert called_from("") == ""


@given(st.text(), st.integers(0, 10**6), st.text())
def test_every_place_is_one_harmless_line_without_a_folder_and_is_known_again(
    file: str, number: int, source: str
) -> None:
    place = place_of(f"/somewhere/{file}x.py", number, source)
    assert place.isprintable()
    assert len(place) <= 400
    assert known_place(place) == place or len(Path(f"/{file}x.py").name) > 255 or "\\" in file


@given(st.none() | st.integers() | st.text() | st.builds(lambda line: f"a.py:1: {line}", st.text()))
def test_what_is_no_place_is_not_told(found: object) -> None:
    assert known_place(found) in ("", found)
    assert known_place(found).isprintable()


@pytest.mark.parametrize(
    "found", ["/a/b.py:1: x", "b.py: x", "b.py:1: \x1b[2J", "b.py:1: a\nb", "b.py:1: " + "x" * 121]
)
def test_a_folder_a_control_sequence_and_an_endless_line_are_no_place(found: str) -> None:
    assert known_place(found) == ""
