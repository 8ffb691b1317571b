"""`roastery run`: what it says before anything runs, and what it does not wait for."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cli.main import app
from cli.run import show
from roastery import __version__
from roastery.results import FleetSummary, ModelSummary, StageFailure
from roastery.spec import PipelineConfig

CONFIGS = Path(__file__).parent.parent.parent / "configs"


@pytest.fixture
def registered_models(tmp_path: Path) -> Path:
    """A folder in which two models are registered."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("faster_rcnn_r50", "mask_rcnn_r50"):
        (folder / f"{name}.yaml").write_text(f"name: {name}\nconfig: c.yaml\nweights: w.pkl\ndataset: d\n")
    return folder


def python(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_version_is_said_without_a_heavy_library() -> None:
    said = python(
        "import sys\n"
        "from cli.main import app\n"
        "app(['--version'], standalone_mode=False)\n"
        "print({'torch', 'prefect', 'mlflow', 'onnx'} & set(sys.modules))\n"
    )
    assert said.split() == ["roastery", __version__, "set()"]


def test_convert_comes_without_prefect_and_mlflow() -> None:
    said = python("import sys, cli.main, cli.convert\nprint({'prefect', 'mlflow'} & set(sys.modules))\n")
    assert said.strip() == "set()"


def test_the_flows_come_without_torch() -> None:
    said = python("import sys, flows.convert_fleet\nprint({'torch', 'onnx'} & set(sys.modules))\n")
    assert said.strip().splitlines()[-1] == "set()"


def test_an_unknown_model_is_one_line_with_the_close_names_and_exit_code_2(registered_models: Path) -> None:
    done = CliRunner().invoke(app, ["run", "mask_rcn_r50", "--models", str(registered_models)])
    assert done.exit_code == 2
    (line,) = done.stderr.strip().splitlines()
    assert line == "roastery: no model 'mask_rcn_r50' is registered; did you mean mask_rcnn_r50 or faster_rcnn_r50?"


def test_what_no_model_is_takes_no_time_and_is_no_failure(registered_models: Path, tmp_path: Path) -> None:
    registry = f"sqlite:///{tmp_path}/mlflow.db"
    arguments = ["run", "--models", str(registered_models), "--datasets", str(CONFIGS / "datasets")]
    done = CliRunner().invoke(app, [*arguments, "--tracking-uri", registry, "--only", "changed"])
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "nothing to convert: no model is changed"


def test_a_glob_or_a_tag_that_no_model_has_is_one_line(registered_models: Path) -> None:
    for options, said in (
        (["cascade_*"], "no model 'cascade_*' is registered; there are faster_rcnn_r50, mask_rcnn_r50"),
        (["--tag", "team=a"], "no model carries the tags team=a; none of them has tags"),
    ):
        done = CliRunner().invoke(app, ["run", *options, "--models", str(registered_models)])
        assert done.exit_code == 2
        assert done.stderr == f"roastery: {said}\n"


@pytest.mark.parametrize("option", ["--store", "--tracking-uri"])
def test_a_password_in_an_address_is_refused_and_not_repeated(registered_models: Path, option: str) -> None:
    address = "s3://key:planted@bucket" if option == "--store" else "http://user:planted@host:5000"
    done = CliRunner().invoke(app, ["run", "--models", str(registered_models), option, address])
    assert done.exit_code == 2
    assert "holds a password; keep it out of configs" in done.stderr
    assert "planted" not in done.output


def test_a_folder_without_models_is_the_users_to_mend(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["run", "--models", str(tmp_path)])
    assert done.exit_code == 2
    assert "holds no YAML" in done.stderr


def test_a_pipeline_that_is_malformed_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("shards: none\n")
    done = CliRunner().invoke(app, ["run", "--models", str(CONFIGS / "models"), "--pipeline", str(tmp_path / "p.yaml")])
    assert done.exit_code == 2
    assert "p.yaml: shards: " in done.stderr


def test_a_runtime_that_there_is_none_of_is_refused() -> None:
    done = CliRunner().invoke(app, ["run", "--runtime", "onnx"])
    assert done.exit_code == 2
    assert "onnx" in done.stderr


def test_a_target_that_is_asked_for_twice_is_one_line(registered_models: Path) -> None:
    options = ["--models", str(registered_models), "--datasets", str(CONFIGS / "datasets")]
    done = CliRunner().invoke(app, ["run", *options, "--target", "caffe2", "--target", "caffe2"])
    assert done.exit_code == 2
    assert done.stderr == "roastery: options: targets: caffe2, caffe2: a target is there twice; name each once\n"


def test_a_reason_out_of_a_strangers_file_is_neither_markup_nor_obeyed_by_the_terminal(tmp_path: Path) -> None:
    failure = StageFailure(stage="trace", reason="ValueError: [/red] \x1b[2J \u202e [bold]", mistake=False)
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    config = PipelineConfig(store=str(tmp_path))
    show(console, FleetSummary(models=(ModelSummary(model="m", ended="failed", failure=failure, seconds=1.0),)), config)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert "m: failed in trace: ValueError: [/red] \ufffd[2J \ufffd [bold]\n" in said
    assert "\x1b" not in said
