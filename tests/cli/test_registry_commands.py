"""The commands that ask the registry and move aliases, as a person and as a program call them."""

import hashlib
import json
import os
import pickle
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from cli.main import app
from roastery.caffe2 import caffe2_pb2
from roastery.registry.aliases import moves
from roastery.registry.catalog import Catalog
from roastery.registry.filed import file_reevaluation
from roastery.results import (
    ArtifactRef,
    Conversion,
    Evaluation,
    LatencySummary,
    ResolvedModel,
    VerdictSummary,
)

ROOT = Path(__file__).parents[2]
NAME = "street_signs"
HOSTILE = "[red]a\x1b[2J\u202e[bold]"


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory):
    """MLflow's empty tables: making them anew would cost each test seconds."""
    database = tmp_path_factory.mktemp("registry") / "mlflow.db"
    Catalog(f"sqlite:///{database}").client.search_registered_models()
    return database


@pytest.fixture
def catalog(empty_registry, tmp_path, monkeypatch):
    """A registry in a working directory of its own, which the commands find of themselves."""
    monkeypatch.chdir(tmp_path)
    Path(".roastery").mkdir()
    shutil.copy(empty_registry, ".roastery/mlflow.db")
    return Catalog("sqlite:///.roastery/mlflow.db")


@pytest.fixture
def roastery():
    """`roastery` in this process."""

    def run(*arguments, **options):
        # What else runs in this process may have left a width.
        options["env"] = {"COLUMNS": "160", "FORCE_COLOR": None} | options.get("env", {})
        return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)

    return run


def evaluation(ap, passed, median_ms=20.0):
    return Evaluation(
        model=NAME,
        original_kind="reference",
        dataset="signs",
        dataset_sha256="da" * 32,
        images=100,
        failed_images=(),
        metrics={"original": {"bbox": {"AP": 40.0, "AP-stop": 9.0}}, "torch": {"bbox": {"AP": ap, "AP-stop": 8.0}}},
        latency={"torch": LatencySummary(median_ms=median_ms, p90_ms=40.0, images=100)},
        parity=(),
        verdicts={"torch": VerdictSummary(passed=passed, reasons=(), deltas={"bbox/AP": ap - 40.0})},
        passed=passed,
        judged_by="torch",
    )


@pytest.fixture
def log(catalog, tmp_path):
    """File a conversion of a net of these operators."""
    count = 0

    def file(name=NAME, ap=39.5, passed=True, operators=("Conv", "Relu"), picture=None):
        nonlocal count
        count += 1
        folder = tmp_path / f"converted{count}"
        folder.mkdir()
        files = {each: folder / each for each in ("model.pb", "model_init.pb")}
        for path in files.values():
            net = caffe2_pb2.NetDef(name="model")
            for kind in operators:
                net.op.add(type=kind, input=["data"], output=["out"])
            net.arg.add(name="meta_architecture", s=b"GeneralizedRCNN")
            path.write_bytes(net.SerializeToString())
        report = folder / "report.md"
        report.write_text("# A report\n")
        if picture:
            Image.new("RGB", (20, 10), picture).save(folder / "report-1.png")
        digests = {each: hashlib.sha256(path.read_bytes()).hexdigest() for each, path in files.items()}
        key = f"{count:064x}"
        artifact = ArtifactRef(stage="x", key=key, uri="file:///x", files={})
        resolved = ResolvedModel(
            name=name,
            meta_architecture="GeneralizedRCNN",
            artifact=artifact,
            config_sha256="c0" * 32,
            weights="model_final.pth",
            source_sha256="50" * 32,
            weights_bytes=2,
        )
        conversion = Conversion(
            key=key,
            resolved=resolved,
            evaluation=evaluation(ap, passed),
            converted=artifact.model_copy(update={"files": digests}),
            onnx=artifact,
            program=artifact,
            evaluated=artifact,
            report=artifact,
            timings=(),
            versions={"roastery": "0.1.0"},
        )
        return catalog.log(conversion, files, report)

    return file


@pytest.fixture
def trained(box_model, tmp_path):
    """A trained detector under a name of its own: its folder."""
    shutil.copytree(box_model, tmp_path / "trained")
    return tmp_path / "trained"


@pytest.fixture
def write_yaml(trained, tmp_path):
    """A model's YAML."""

    def write(name=NAME, **said):
        file = tmp_path / f"{name}.yaml"
        spec = {"name": name, "config": str(trained / "config.yaml"), "weights": str(trained / "model_final.pkl")}
        file.write_text(yaml.safe_dump({**spec, "dataset": "signs", **said}))
        return file

    return write


def options(trained, name=NAME):
    files = ["--config-file", trained / "config.yaml", "--weights", trained / "model_final.pkl"]
    return ["register", "--name", name, *files, "--dataset", "signs"]


def done(result, *words):
    assert result.exit_code == 0, result.output
    for word in words:
        assert word in result.stdout, (word, result.stdout)
    return True


def refused(result, *words):
    """A mistake of the user's: nothing but one line, and exit code 2."""
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("roastery: ")
    assert line.isprintable()
    for word in words:
        assert word in line, (word, line)
    return True


def test_models_is_a_line_a_model_and_says_how_many(roastery, log):
    log("bad", ap=30.0, passed=False)
    log("good")

    result = roastery("models")

    assert done(result)
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert lines[0] == ["model", "source", "version", "verdict", "judged", "by", "AP", "difference", "age"]
    bad, good = (next(line for line in lines if line[0] == name) for name in ("bad", "good"))
    assert bad[1:8] == ["-", "1", "failed", "torch", "bbox", "30.00", "-10.00"]
    assert good[1:9] == ["-", "1", "passed", "(candidate)", "torch", "bbox", "39.50", "-0.50"]
    assert (bad[-1], good[-1]) == ("s", "s")
    assert lines[-1] == ["2", "models"]


def test_models_answers_only_what_was_asked(roastery, log, catalog):
    log("bad", ap=30.0, passed=False)
    log("good")
    catalog.client.set_model_version_tag("good.caffe2", "1", "roastery_version", "0.0.1")
    catalog.client.set_model_version_tag("good.caffe2", "1", "reevaluated", "2020-01-01T00:00:00+00:00")

    def asked(*arguments):
        result = roastery("models", "--json", *arguments)
        assert done(result)
        return [each["model"] for each in json.loads(result.stdout)]

    assert asked() == ["bad", "good"]
    assert asked("--failed") == ["bad"]
    assert asked("--stale") == ["good"]
    assert asked("--unconverted") == []
    assert asked("--older-than", "30d") == ["good"]
    assert asked("--older-than", "999999d") == []
    assert asked("--where", "ap_delta_bbox < -0.1 and latency_ms/torch/median < 30") == ["bad", "good"]
    assert asked("--where", "ap_delta_bbox < -1", "--failed") == ["bad"]
    assert done(roastery("models", "--stale"), "stale: made by Roastery 0.0.1", "1 model\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["models", "--where", "ap_bbox over 40"], ["--where 'ap_bbox over 40': cannot be read at", "METRIC < NUMBER"]),
        (["models", "--where", "\x1b[2J\n"], ["--where '\\x1b[2J\\n': cannot be read at"]),
        (["models", "--older-than", "a while"], ["--older-than: 'a while' is no age; say a number with m, h, d or w"]),
        (["models", "--older-than", "-1d"], ["'-1d' is no age"]),
        (["models", "--older-than", "9999999d"], ["'9999999d' is no age"]),
        (["models", "--tracking-uri", "sqlite:///mistyped.db"], ["mistyped.db: no such registry; name the one"]),
        (["models", "--tracking-uri", "gopher://nowhere"], ["gopher://nowhere"]),
        (["models", "--pipeline", "none.yaml"], ["none.yaml"]),
        (["show", "nobody"], ["nobody: has no converted version in sqlite:", "`roastery models` lists all"]),
        (["show", f"{NAME}/9"], [f"{NAME}/9: there is no such version; {NAME}.caffe2 has the aliases candidate"]),
        (["show", f"{NAME}@nobody"], ["there is no such version"]),
        (["show", HOSTILE], ["has no converted version"]),
        (["diff", "nobody", "1", "2"], ["nobody: has no converted version"]),
        (["diff", NAME, "1", "2"], [f"{NAME}/2: there is no such version"]),
        (["fetch", "nobody", "out"], ["nobody: has no converted version"]),
        (["fetch", f"{NAME}/2", "out"], ["there is no such version"]),
        (["fetch", NAME, "taken"], ["taken: holds what is no converted model ('notes.txt')"]),
        (["history", "nobody"], ["nobody: no such model in sqlite:"]),
        (["history", NAME, "--tracking-uri", "sqlite:///mistyped.db"], ["no such registry"]),
        (["promote", "nobody", "-m", "why"], ["nobody: has no converted version"]),
        (["promote", NAME, "-m", "why", "--to", "validated"], ["alias 'validated' is the gate's"]),
        (["promote", NAME, "-m", "why", "--to", "a b"], ["alias 'a b' is none that MLflow takes"]),
        (["promote", NAME, "-m", "why", "--version", "9"], ["there is no such version"]),
        (["promote", NAME, "-m", " "], ["a move of an alias goes on record with its reason; say one with --reason"]),
        (["promote", "failed", "-m", "why"], ["failed.caffe2: no version passes its gate"]),
        (["promote", "failed", "-m", "why", "--version", "1"], ["failed.caffe2 version 1 did not pass its gate"]),
        (["rollback", NAME, "-m", "why"], ["no version is called 'production'; promote one first"]),
        (["rollback", "nobody", "-m", "why"], ["nobody: has no converted version"]),
        (["register"], ["nothing to register; give YAML files, or --name"]),
        (["register", "--name", "a"], ["nothing to register; give YAML files, or --name"]),
        (["register", "a.yaml", "--name", "a"], ["YAML and options both say what to register; give one of them"]),
        (["register", "a.yaml", "b.yaml", "--metrics", "m.json"], ["--metrics is of one model; register it alone"]),
        (["register", "none.yaml"], ["none.yaml"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(roastery, log, tmp_path, arguments, words):
    log()
    log("failed", passed=False)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    before = sorted(tmp_path.iterdir())

    assert refused(roastery(*arguments), *words)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [["diff", NAME, "0", "1"], ["diff", NAME, "x", "1"], ["promote", NAME, "-m", "a", "--version", "0"], ["show"]],
)
def test_a_wrong_command_line_ends_with_2(roastery, catalog, arguments):
    assert roastery(*arguments).exit_code == 2


def test_show_says_all_of_a_version_and_of_classes_where_it_is_asked(roastery, log):
    log(operators=("Conv", "Conv", "Relu"))

    result = roastery("show", NAME)

    assert done(result, f"{NAME}.caffe2 version 1, called candidate\n", "passed, judged by torch", "2 Conv, 1 Relu")
    assert "AP-stop" not in result.stdout
    assert [line.split() for line in result.stdout.splitlines() if "ap_bbox" in line] == [["ap_bbox", "39.5"]]
    assert done(roastery("show", NAME, "--classes"), "torch/bbox/AP-stop")
    answer = json.loads(roastery("show", f"{NAME}@candidate", "--json").stdout)
    assert (answer["name"], answer["version"], answer["operators"]) == (f"{NAME}.caffe2", 1, {"Conv": 2, "Relu": 1})


def test_diff_says_what_differs_with_pictures_where_they_are_asked(roastery, log):
    log(picture="red")
    log(ap=40.5, operators=("Conv", "Conv"), picture="blue")

    result = roastery("diff", NAME, 1, 2)
    assert done(result, f"{NAME}.caffe2 version 1 and version 2", "report-1.png", "  version 1: ", "  version 2: ")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["ap_bbox", "39.5", "40.5", "+1"] in lines
    assert ["Conv", "1", "2", "+1"] in lines
    assert ["Relu", "1", "0", "-1"] in lines
    assert "seconds" not in result.stdout

    for _ in range(2):
        assert done(roastery("diff", NAME, 1, 2, "--pictures", "beside"), "picture: beside/report-1.png")
    assert Image.open("beside/report-1.png").size == (20, 28)
    answer = json.loads(roastery("diff", NAME, 1, 2, "--json").stdout)
    assert answer["metrics"]["ap_bbox"] == [39.5, 40.5]
    assert done(roastery("diff", NAME, 1, 1), "nothing differs")


def test_what_is_fetched_is_said_and_is_there(roastery, log):
    log()
    for _ in range(2):
        result = roastery("fetch", NAME, "out")
        assert done(result, f"{NAME}.caffe2 version 1 in out: model.pb, model_init.pb")
    assert sorted(path.name for path in Path("out").iterdir()) == ["manifest.json", "model.pb", "model_init.pb"]


def test_a_damaged_file_in_the_registry_is_one_line_and_leaves_nothing(roastery, log, tmp_path):
    log()
    for file in (tmp_path / ".roastery" / "mlartifacts").rglob("model.pb"):
        file.write_bytes(file.read_bytes() + b"\x00")
    assert refused(roastery("fetch", NAME, "out"), "model.pb in the registry is not the file that was filed")
    assert not Path("out").exists()


def test_a_model_is_promoted_rolled_back_and_its_history_tells_it(roastery, log, catalog):
    log()
    log(ap=40.5)

    assert roastery("promote", NAME, "-m", "first", "--version", "1").stdout == f"{NAME}: production is version 1\n"
    result = roastery("promote", NAME, "--reason", "better")
    assert result.stdout == f"{NAME}: production is version 2, before it version 1\n"
    assert roastery("promote", NAME, "-m", "again").stdout == f"{NAME}: production is there already\n"
    result = roastery("rollback", NAME, "-m", "misses bicycles")
    assert result.stdout == f"{NAME}: production is version 1 again, it was version 2\n"
    assert refused(roastery("rollback", NAME, "-m", "and again"), "no version was called 'production' before version 1")
    file_reevaluation(catalog, f"{NAME}.caffe2", 2, "e5" * 32, evaluation(30.0, False))

    result = roastery("history", NAME)
    assert done(result, "converted", "production: version 2 to version 1: misses bicycles (", "measured again")
    told = json.loads(roastery("history", NAME, "--json").stdout)
    assert [each["said"] for each in told if each["kind"] == "alias" and each["by"] != "roastery"] == [
        *("first", "better", "misses bicycles"),
    ]
    assert len(result.stdout.splitlines()) == len(told)


def test_without_a_reason_and_a_terminal_a_move_is_a_mistake_and_nothing_is_waited_for(log, catalog, tmp_path):
    log()
    for command in ("promote", "rollback"):
        # A pipe that nobody writes to, and nobody closes.
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", command, NAME],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        try:
            code = process.wait(60)
            assert (code, process.stdout.read()) == (2, "")
            assert process.stderr.read() == "roastery: no reason is given; say one with --reason\n"
        finally:
            process.kill()
            process.communicate()
    assert "production" not in catalog.client.get_registered_model(f"{NAME}.caffe2").aliases


def test_at_a_terminal_the_reason_is_asked_for(log, catalog, tmp_path):
    log()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "cli.main", "promote", NAME]
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        os.write(ours, b"a week in staging\n")
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        os.close(ours)
        os.close(theirs)
    assert (process.returncode, said) == (0, f"Reason: {NAME}: production is version 1\n")
    assert moves(catalog.client.get_registered_model(f"{NAME}.caffe2"))[-1].reason == "a week in staging"


def test_names_that_a_terminal_would_obey_are_shown_and_are_no_markup(roastery, log, catalog):
    log(HOSTILE, operators=("Conv", HOSTILE))
    log(HOSTILE, operators=("Conv",))
    catalog.client.set_model_version_tag(f"{HOSTILE}.caffe2", "2", "judged_by", HOSTILE)
    reason = f"why {HOSTILE}\nnot"
    calls = [
        ["models"],
        ["show", HOSTILE],
        ["show", f"{HOSTILE}/1"],
        ["diff", HOSTILE, 1, 2],
        ["promote", HOSTILE, "-m", reason],
        ["promote", HOSTILE, "-m", reason],
        ["promote", HOSTILE, "-m", reason, "--version", 1],
        ["rollback", HOSTILE, "-m", reason],
        ["history", HOSTILE],
        ["fetch", HOSTILE, "out"],
    ]
    for call in calls:
        result = roastery(*call, env={"COLUMNS": "500"})
        assert done(result, "[red]a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}[bold]"), call
        assert result.stdout.replace("\n", "").isprintable(), call
    assert "not" in roastery("history", HOSTILE).stdout


def test_a_model_is_registered_by_its_yaml_and_the_same_bytes_are_the_same_version(
    roastery, catalog, write_yaml, trained
):
    file = write_yaml(tags=["team=vision"])
    assert roastery("register", file).stdout == f"{NAME} version 1: registered\n"
    assert roastery("register", file).stdout == f"{NAME} version 1: was registered before\n"

    (row,) = json.loads(roastery("models", "--unconverted", "--json").stdout)
    assert (row["model"], row["source_version"], row["converted_version"]) == (NAME, 1, None)
    assert done(roastery("models"), "not converted")
    assert done(roastery("history", NAME), "registered", "version 1")
    content = pickle.loads((trained / "model_final.pkl").read_bytes())
    next(iter(content["model"].values())).flat[0] += 1
    (trained / "model_final.pkl").write_bytes(pickle.dumps(content))
    assert roastery("register", file).stdout == f"{NAME} version 2: registered\n"
    assert catalog.client.get_model_version(NAME, "1").tags["tag.team_vision"] == "yes"


def test_a_model_is_registered_by_options_with_what_it_scored(roastery, catalog, trained, tmp_path):
    (trained / "metrics.json").write_text('{"bbox/AP": 41.5, "total_loss": 1.0}\n')
    (tmp_path / "other.json").write_text('{"bbox/AP": 30.0}\n')

    assert roastery(*options(trained), "--tag", "r50").stdout == f"{NAME} version 1: registered\n"
    assert done(roastery(*options(trained, "other"), "--metrics", tmp_path / "other.json"))

    def figures(name):
        tags = catalog.client.get_model_version(name, "1").tags
        return {each.key: each.value for each in catalog.client.get_logged_model(tags["model_id"]).metrics}

    assert (figures(NAME), figures("other")) == ({"bbox/AP": 41.5}, {"bbox/AP": 30.0})


def test_a_checkpoint_at_an_address_is_fetched_and_registered_under_its_name(roastery, catalog, trained, web):
    web.files["/detectron2/m/model_final.pkl"] = (trained / "model_final.pkl").read_bytes()
    address = "detectron2://m/model_final.pkl"
    published = [address if str(each).endswith(".pkl") else each for each in options(trained)]

    assert roastery(*published).stdout == f"{NAME} version 1: registered\n"
    assert roastery(*options(trained)).stdout == f"{NAME} version 1: was registered before\n"
    assert catalog.client.get_model_version(NAME, "1").tags["checkpoint"] == "model_final.pkl"
    web.files.clear()
    assert roastery(*published).stdout == f"{NAME} version 1: was registered before\n"
    assert refused(roastery(*options(trained, "other"), "--weights", "detectron2://none.pkl"), "detectron2://none.pkl")


@pytest.mark.parametrize(
    ("further", "word"),
    [
        (["--metrics", "none.json"], "none.json: cannot be read"),
        (["--metrics", "bad.json"], "bad.json: line 1 is not JSON"),
        (["--weights", "none.pkl"], "none.pkl"),
        (["--weights", "memory://none.pkl"], "memory://none.pkl: is no address that is fetched"),
        (["--config-file", "none.yaml"], "none.yaml"),
        (["--name", "a/b"], "--name: "),
        (["--name", HOSTILE], "--name: "),
        (["--name", f"{NAME}.caffe2"], "is what converted models end with"),
        (["--tag", "a b"], "--tags: "),
        (["--dataset", "../x"], "--dataset: "),
    ],
)
def test_what_cannot_be_registered_is_one_line_and_no_version(roastery, catalog, trained, tmp_path, further, word):
    (tmp_path / "bad.json").write_text("{")
    assert refused(roastery(*options(trained), *further), word)
    assert catalog.client.search_model_versions() == []


def test_one_bad_yaml_among_good_ones_is_told_and_the_others_are_registered(roastery, catalog, write_yaml, tmp_path):
    (tmp_path / "bad.yaml").write_text("name: [")
    files = [write_yaml("one"), tmp_path / "bad.yaml", write_yaml("lost", weights="none.pkl"), write_yaml("two")]

    result = roastery("register", *files)

    assert result.exit_code == 2
    assert result.stdout == "one version 1: registered\ntwo version 1: registered\n"
    bad, lost = result.stderr.splitlines()
    assert bad.startswith(f"roastery: {tmp_path}/bad.yaml")
    assert lost.startswith("roastery: ")
    assert "none.pkl" in lost
    assert {version.name for version in catalog.client.search_model_versions()} == {"one", "two"}


def test_a_registered_source_is_not_registered_again(roastery, catalog, tmp_path):
    (tmp_path / "a.yaml").write_text("name: a\nweights: models:/a/1\ndataset: d\n")
    assert refused(roastery("register", tmp_path / "a.yaml"), "its weights are a registered source already")


def test_the_help_of_each_command_has_its_examples(roastery):
    for command in ("register", "models", "show", "diff", "fetch", "history", "promote", "rollback"):
        assert done(roastery(command, "--help"), "Examples", f"roastery {command}")


def test_as_a_program_it_says_the_same(log, tmp_path):
    log()
    command = [sys.executable, "-m", "cli.main", "models", "--json"]
    result = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, env=None)
    assert (result.returncode, result.stderr) == (0, "")
    assert [each["model"] for each in json.loads(result.stdout)] == [NAME]
