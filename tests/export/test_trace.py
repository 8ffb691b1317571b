"""model.pt2: repeats to the byte, says its interface, and is refused where it is none."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from roastery.detectors.backbone import Backbone, ShapeSpec
from roastery.detectors.detector import Detector
from roastery.errors import ModelFileError, UnsupportedOperator
from roastery.export.trace import load_program, trace

_CONVERT = """
import sys
from pathlib import Path
from roastery.caffe2.convert import convert
from roastery.caffe2.nets import save_nets
from roastery.config import load_config
from roastery.export.onnx import export_onnx, load_onnx, save_onnx
from roastery.export.trace import load_program, save_program, trace
from roastery.sources.native import load_detector, net_arguments

source, folder = Path(sys.argv[1]), Path(sys.argv[2])
config = load_config(source / "config.yaml")
detector = load_detector(config, source / "model_final.pkl")
save_program(trace(detector, net_arguments(config, detector)), folder / "model.pt2")
save_onnx(export_onnx(load_program(folder / "model.pt2")), folder / "model.onnx")
save_nets(convert(load_onnx(folder / "model.onnx")), folder)
"""


def test_a_fresh_process_in_another_folder_makes_the_same_files_to_the_byte(
    converted: Callable[[str], Path], box_model: Path, tmp_path: Path
) -> None:
    first = converted(box_model.name)
    # Another seed of hashes: what comes in a set's order would change.
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(
        [sys.executable, "-c", _CONVERT, str(box_model), str(tmp_path)],
        check=True,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
    )
    for name in ("model.pt2", "model.onnx", "model.pb", "model_init.pb", "model.pbtxt"):
        assert (tmp_path / name).read_bytes() == (first / name).read_bytes(), name


def test_a_saved_program_holds_no_path_of_the_sources(converted: Callable[[str], Path], box_model: Path) -> None:
    with zipfile.ZipFile(converted(box_model.name) / "model.pt2") as archive:
        for name in archive.namelist():
            content = archive.read(name)
            for trace_of_a_machine in (b"site-packages", b"stack_trace", str(Path.cwd()).encode()):
                assert trace_of_a_machine not in content, name


def test_a_loaded_program_knows_its_outputs_and_its_nets_arguments(
    converted: Callable[[str], Path], box_model: Path
) -> None:
    traced = load_program(converted(box_model.name) / "model.pt2")
    assert traced.output_names == ("bbox_nms", "score_nms", "class_nms")
    assert traced.net_arguments["meta_architecture"] == "GeneralizedRCNN"


def test_a_missing_program_is_a_model_file_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such traced program"):
        load_program(tmp_path / "model.pt2")


@pytest.mark.parametrize("keep", [0, 1000, -1000])
def test_a_truncated_program_is_refused(
    converted: Callable[[str], Path], box_model: Path, tmp_path: Path, keep: int
) -> None:
    (tmp_path / "model.pt2").write_bytes((converted(box_model.name) / "model.pt2").read_bytes()[:keep])
    with pytest.raises(ModelFileError, match="not a readable traced program"):
        load_program(tmp_path / "model.pt2")


def test_a_program_of_somebody_else_is_refused(tmp_path: Path) -> None:
    class Double(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    torch.export.save(torch.export.export(Double(), (torch.zeros(2),)), tmp_path / "model.pt2")
    with pytest.raises(ModelFileError, match="not a program that Roastery traced"):
        load_program(tmp_path / "model.pt2")


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
        self.head = head

    def output_names(self, batch: int) -> list[str]:
        return ["y"]

    def forward(self, data: Tensor, im_info: Tensor) -> tuple[Tensor, ...]:
        return (self.head(self.features(data)["pixels"]),)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


class Looping(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(int(x.max().item())):
            x = x + 1
        return x


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (Branching(), ["'head.1'", "control flow", "test_trace.py:", "if x.sum() > 0", "torch.where"]),
        (Looping(), ["'head.1'", "control flow", "test_trace.py:", "range(int(x.max().item()))"]),
    ],
)
def test_control_flow_that_depends_on_the_image_is_named_with_its_line(head: nn.Module, said: list[str]) -> None:
    with pytest.raises(UnsupportedOperator) as refused:
        trace(Net(nn.Sequential(nn.ReLU(), head)), {})
    assert "\n" not in str(refused.value)
    for part in said:
        assert part in str(refused.value)


class NormsOfRois(nn.Module):
    """A batch norm and a group norm of as many RoIs as the image has bright rows: nobody knows before."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_norm = nn.BatchNorm2d(3)
        self.group_norm = nn.GroupNorm(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        rows = x[0, 0].amax(dim=1).nonzero()[:, 0]
        rois = x[0].permute(1, 0, 2)[rows][:, :, :, None]
        normed: Tensor = self.group_norm(self.batch_norm(rois))
        return normed


def test_norms_of_an_unknown_number_of_rois_are_traced_and_give_what_they_give() -> None:
    detector = Net(NormsOfRois())
    for name, buffer in detector.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(0))
    program = trace(detector, {}).program.module()
    image = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    image[:, :, ::2] = 0
    im_info = torch.tensor([[40.0, 50.0, 1.0]])
    with torch.no_grad():
        expected = detector(image, im_info)[0]
        torch.testing.assert_close(program(image, im_info)[0], expected)
    assert len(expected) == 20
