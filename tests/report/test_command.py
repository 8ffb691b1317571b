"""The command that a report gives does what the report says."""

import html
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from roastery.config import load_config
from roastery.digest import file_sha256
from roastery.report.command import reproducing_command
from roastery.report.facts import ReportFacts
from roastery.spec import GateSpec

STATED = ("model.pb", "model_init.pb", "model.onnx")


def words(command):
    return shlex.split(command.replace("\\\n", " "))


@pytest.mark.parametrize(
    ("runtimes", "runtime"), [(("torch",), "torch"), (("caffe2",), "caffe2"), (("torch", "caffe2"), "both")]
)
def test_the_runtimes_that_judged_judge_again(runtimes, runtime):
    command = words(reproducing_command("model_final.pkl", "shapes_val", runtimes))

    assert command[command.index("--runtime") + 1] == runtime
    assert command[:5] == ["roastery", "convert", "--config-file", "config.yaml", "--output"]


@pytest.mark.parametrize(
    "name",
    ["model_final.pkl", "1.5", "None", "'quoted'", 'it is "mine".pkl', "$(touch hacked).pkl", "-x", "a\nb", "é.pth"],
)
def test_names_come_through_the_shell_and_the_config_as_they_are(box_model, name):
    command = reproducing_command(f"/some/where/{name}", "few", ("torch",))

    _, *told = subprocess.run(
        ["bash", "-c", f"roastery() {{ printf '%s\\0' \"$@\"; }}; {command}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")

    assert told == [*words(command)[2:], ""]
    config = load_config(box_model / "config.yaml", told[told.index("MODEL.WEIGHTS") : -1])
    assert name == config.MODEL.WEIGHTS
    assert config.DATASETS.TEST == ("few",)


def test_a_checkpoint_at_an_address_is_fetched_again():
    address = "detectron2://m/model_final.pkl"
    command = words(reproducing_command(address, "few", ("torch",)))
    assert command[command.index("MODEL.WEIGHTS") + 1] == address


def in_the_page(folder):
    (command,) = re.findall('<code class="command">(.*?)</code>', (folder / "report.html").read_text(), re.DOTALL)
    return html.unescape(command)


def in_the_markdown(folder):
    (command,) = re.findall("\n```sh\n(.*?)\n```\n", (folder / "report.md").read_text(), re.DOTALL)
    return command


@pytest.mark.xdist_group("report")
@pytest.mark.timeout(600)
def test_a_reports_command_gives_its_files_and_its_ap_again(conversion, tmp_path):
    command = in_the_page(conversion.folder)
    assert command == in_the_markdown(conversion.folder)
    # What the report asks for: its config, the checkpoint, the dataset's registration.
    shutil.copyfile(conversion.folder / "config.yaml", tmp_path / "config.yaml")
    weights = Path(conversion.request.resolved.weights)
    shutil.copyfile(weights, tmp_path / weights.name)
    (tmp_path / "configs" / "datasets").mkdir(parents=True)
    spec = conversion.dataset.model_dump(mode="json", exclude_none=True)
    (tmp_path / "configs" / "datasets" / "few.yaml").write_text(yaml.safe_dump(spec))

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        check=False,
        capture_output=True,
        text=True,
        timeout=500,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    report = (conversion.folder / "report.md").read_text()
    for name in STATED:
        (stated,) = re.findall(rf"^\| {re.escape(name)} \| [\d.]+ \| `(\w{{64}})` \|$", report, re.MULTILINE)
        assert file_sha256(tmp_path / "reproduced" / name) == stated == conversion.files[name]
    manifest = json.loads((tmp_path / "reproduced" / "manifest.json").read_text())
    (checkpoint,) = re.findall(r"^\| checkpoint \| `(\w{64})` \|$", report, re.MULTILINE)
    assert manifest["source"]["weights_sha256"] == checkpoint
    again = manifest["verdict"]["evaluation"]["metrics"]
    first = conversion.evaluation.metrics
    assert again == first
    (row,) = re.findall(r"^\| AP \| (.*) \|$", report, re.MULTILINE)
    original, converted, _ = row.split(" | ")
    assert [original, converted] == [f"{again[target]['bbox']['AP']:.2f}" for target in ("original", "torch")]
    assert float(original) > 10


def test_a_report_says_where_the_command_would_judge_otherwise(markdown, make_evaluation):
    from roastery.evaluation.gate import GatePolicy

    usual = markdown(make_evaluation(), ReportFacts(weights="m.pkl", gate=GatePolicy(**GateSpec().model_dump())))
    other = markdown(make_evaluation(), ReportFacts(weights="m.pkl", gate=GatePolicy(max_ap_delta=0.05)))

    assert "default gate" not in usual
    assert "Its verdict is that of the default gate" in other
