"""What the registry answers of its models: as they were measured last, and of the newest version alone."""

import hashlib
import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from PIL import Image
from pydantic import TypeAdapter

from roastery import __version__
from roastery.caffe2 import caffe2_pb2
from roastery.errors import ConfigError, OutputError, RegistryDamaged, RegistryUnavailable, UserError
from roastery.registry.answers import Event, Fetched, ModelAnswer, VersionAnswer, VersionsDiff
from roastery.registry.filed import file_reevaluation
from roastery.registry.registry import Registry
from roastery.results import LatencySummary, VerdictSummary

NAME = "street_signs"
SOURCE = {"source_sha256": "50" * 32, "config_sha256": "c0" * 32, "family": "RetinaNet", "dataset": "signs"}
HOSTILE = [
    "it's",
    'the "best" one',
    """both ' and " and `""",
    "x' OR name LIKE '%",
    "größe 8.5 [red]",
    "100%_\\'",
    "e\\",
]


def figures(ap=39.5, passed=True, median_ms=20.0, judged_by="torch"):
    """What an evaluation says, beside an original of AP 40."""
    return {
        "passed": passed,
        "judged_by": judged_by,
        "metrics": {"original": {"bbox": {"AP": 40.0}}, judged_by: {"bbox": {"AP": ap}}},
        "verdicts": {judged_by: VerdictSummary(passed=passed, reasons=(), deltas={"bbox/AP": ap - 40.0})},
        "latency": {judged_by: LatencySummary(median_ms=median_ms, p90_ms=2 * median_ms, images=100)},
        "parity": (),
    }


@pytest.fixture
def registry(catalog):
    return Registry(catalog.tracking_uri)


@pytest.fixture
def log(catalog, make_conversion, files):
    """File a conversion whose digests are those of its files: name, figures, and bytes of other files."""
    count = 0

    def file(name=NAME, report=None, others=(), settings=None, **said):
        nonlocal count
        count += 1
        given = {**files, **dict(others)}
        conversion = make_conversion(name=name, key=f"{count:064x}", **figures(**said))
        digests = {each: hashlib.sha256(path.read_bytes()).hexdigest() for each, path in given.items()}
        made = {"model.pb", "model_init.pb", "model.pbtxt", "model.svg"}
        update = {
            "converted": conversion.converted.model_copy(update={"files": {n: digests[n] for n in made}}),
            "onnx": conversion.onnx.model_copy(update={"files": {"model.onnx": digests["model.onnx"]}}),
            "settings": settings or {},
        }
        return catalog.log(conversion.model_copy(update=update), given, report)

    return file


@pytest.fixture
def measure(catalog, make_conversion):
    """Measure a version again."""
    count = 0

    def again(name=NAME, version=1, **said):
        nonlocal count
        count += 1
        return file_reevaluation(
            catalog, f"{name}.caffe2", version, f"e{count}" * 32, make_conversion(**figures(**said)).evaluation
        )

    return again


@pytest.fixture
def add_source(catalog):
    """A registered source, as its tags say it."""

    def add(name=NAME, **tags):
        if catalog.registered_model(name) is None:
            catalog.client.create_registered_model(name)
        tags = {"checkpoint": "model_final.pth", **SOURCE, **tags}
        return catalog.client.create_model_version(name, "file:///nowhere", tags=tags)

    return add


def net(folder, *operators):
    """A NetDef of these operators in a file."""
    made = caffe2_pb2.NetDef(name="model")
    for kind in operators:
        made.op.add(type=kind, input=["data"], output=["copied"])
    made.arg.add(name="meta_architecture", s=b"GeneralizedRCNN")
    folder.mkdir()
    (folder / "model.pb").write_bytes(made.SerializeToString())
    return folder / "model.pb"


def found(registry, **asked):
    return [each.model for each in registry.models(**asked)]


def same_as_json(kind, answer):
    """It goes through JSON and comes back; what JSON has no word for is not in it."""
    adapter = TypeAdapter(kind)
    text = adapter.dump_json(answer)
    assert adapter.validate_json(text) == answer
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    return True


def test_a_row_says_source_version_verdict_judge_figures_aliases_and_ages(registry, log, add_source):
    before = datetime.now(UTC).replace(microsecond=0)
    add_source()
    add_source()
    log()
    log(judged_by="caffe2")

    (row,) = registry.models()

    assert (row.model, row.source_version, row.converted_version) == (NAME, 2, 2)
    assert (row.verdict, row.judged_by, row.aliases, row.stale) == ("passed", "caffe2", ("candidate", "validated"), ())
    assert (row.ap, row.ap_original, row.ap_delta) == ({"bbox": 39.5}, {"bbox": 40.0}, {"bbox": -0.5})
    assert (row.family, row.dataset) == ("GeneralizedRCNN", "shapes_val")
    assert before <= row.registered_at <= row.converted_at <= datetime.now(UTC)
    assert row.measured_at == row.converted_at
    version = registry.catalog.client.get_model_version(f"{NAME}.caffe2", "2")
    assert (row.run_id, row.model_id) == (version.run_id, version.tags["model_id"])
    assert same_as_json(list[ModelAnswer], registry.models())


def test_a_source_alone_and_a_conversion_of_files_are_rows_too_and_strangers_models_are_not(registry, log, add_source):
    add_source("only_registered")
    log("only_converted", passed=False)
    registry.catalog.client.create_registered_model("theirs")
    registry.catalog.client.create_model_version("theirs", "file:///nowhere")
    registry.catalog.client.create_registered_model("empty.caffe2")

    rows = registry.models()

    assert [(each.model, each.source_version, each.converted_version) for each in rows] == [
        ("only_converted", None, 1),
        ("only_registered", 1, None),
    ]
    assert (rows[0].verdict, rows[0].aliases) == ("failed", ())
    assert (rows[1].verdict, rows[1].ap, rows[1].family, rows[1].dataset) == (None, {}, "RetinaNet", "signs")
    assert same_as_json(list[ModelAnswer], rows)


def test_an_empty_registry_has_no_models(registry):
    assert registry.models() == []
    assert registry.models(failed=True, stale=True, where="a > 1 and ap_bbox > 1") == []


def test_a_registry_that_is_not_there_is_not_made_for_the_question(tmp_path):
    registry = Registry(f"sqlite:///{tmp_path}/mistyped/mlflow.db")
    for ask in (registry.models, lambda: registry.show("a"), lambda: registry.promote("a", reason="b")):
        with pytest.raises(ConfigError, match="no such registry; name the one that models are filed in"):
            ask()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "reasons"),
    [
        ({}, ()),
        ({"source_sha256": "51" * 32}, ("other weights than source version 2",)),
        ({"config_sha256": "c1" * 32}, ("other config than source version 2",)),
        (
            {"source_sha256": "51" * 32, "config_sha256": "c1" * 32},
            ("other weights than source version 2", "other config than source version 2"),
        ),
    ],
)
def test_a_version_is_stale_beside_other_weights_or_another_config_than_the_newest_sources(
    registry, log, add_source, changed, reasons
):
    add_source(source_sha256="ff" * 32)
    log()
    add_source(**changed)

    (row,) = registry.models()

    assert row.stale == reasons
    assert found(registry, stale=True) == ([NAME] if reasons else [])
    assert registry.show(NAME).summary == row


def test_a_version_of_another_roastery_is_stale(registry, log):
    log()
    registry.catalog.client.set_model_version_tag(f"{NAME}.caffe2", "1", "roastery_version", "0.0.1")

    assert __version__ != "0.0.1"
    assert registry.models(stale=True)[0].stale == ("made by Roastery 0.0.1",)


def test_after_it_was_measured_again_verdict_figures_and_age_are_the_later_ones(registry, log, measure):
    log()
    measure(ap=30.0, passed=False, median_ms=50.0)

    (row,) = registry.models(failed=True)

    assert (row.verdict, row.ap, row.ap_delta, row.aliases) == ("failed", {"bbox": 30.0}, {"bbox": -10.0}, ())
    # A run's start is a whole second in the version's tag.
    assert row.measured_at >= row.converted_at - timedelta(seconds=1)
    assert row.measured_at != row.converted_at

    measure(ap=41.0, median_ms=10.0)
    assert registry.models(failed=True) == []
    assert registry.models()[0].ap == {"bbox": 41.0}
    assert same_as_json(list[ModelAnswer], registry.models())


@pytest.mark.parametrize(
    ("once", "now"),
    [
        ("ap_delta_bbox < -5", "ap_delta_bbox > 0"),
        ("ap_bbox < 35", "ap_bbox = 41"),
        ("latency_ms/torch/median > 40", "latency_ms/torch/median < 15"),
        ("delta/torch/bbox/AP < -5", "delta/torch/bbox/AP > 0"),
        ("torch/bbox/AP < 35 and ap_bbox < 35", "torch/bbox/AP > 40 and ap_bbox > 40"),
    ],
)
def test_a_question_of_figures_is_of_the_latest_not_of_those_that_were_once(registry, log, measure, once, now):
    log(ap=30.0, median_ms=50.0)
    assert (found(registry, where=once), found(registry, where=now)) == ([NAME], [])

    measure(ap=41.0, median_ms=10.0)
    assert (found(registry, where=once), found(registry, where=now)) == ([], [NAME])

    measure(ap=30.0, median_ms=50.0)
    assert (found(registry, where=once), found(registry, where=now)) == ([NAME], [])


@pytest.mark.parametrize(
    ("where", "models"),
    [
        ("ap_bbox > 30", ["better", "good"]),
        ("ap_bbox >= 30", ["bad", "better", "good"]),
        ("ap_bbox = 30", ["bad"]),
        ("ap_bbox != 30", ["better", "good"]),
        ("ap_original_bbox == 40", ["bad", "better", "good"]),
        ("ap_segm > 0", []),
        ("ap_segm != 0", []),
        ("no_such/metric != 0", []),
        ("latency_ms/torch/median <= 20", ["bad", "better"]),
        ("latency_ms/torch/median < 25 and latency_ms/torch/p90 > 25", ["better"]),
        ("latency_ms/torch/median <= 20 and ap_bbox > 30", ["better"]),
        ("latency_ms/torch/median > -1e300 and ap_bbox < 1e300", ["bad", "better", "good"]),
        ("images >= 1.5e16", []),
    ],
)
def test_a_question_finds_those_of_which_all_conditions_hold(registry, log, add_source, where, models):
    log("bad", ap=30.0, median_ms=10.0, passed=False)
    log("good", ap=39.9, median_ms=40.0)
    log("better", ap=40.1, median_ms=20.0)
    add_source("unconverted")

    assert found(registry, where=where) == models


def test_what_is_asked_together_is_all_true(registry, log, add_source, measure):
    client = registry.catalog.client
    for name in ("failed", "failed_stale", "stale", "fine"):
        log(name, passed="failed" not in name, ap=30.0 if "failed" in name else 40.0)
        if "stale" in name:
            add_source(name, source_sha256="51" * 32)
    add_source("new")
    for name in ("failed_stale", "fine"):
        client.set_model_version_tag(f"{name}.caffe2", "1", "reevaluated", "2020-01-01T00:00:00+00:00")

    day = timedelta(days=1)
    assert found(registry) == ["failed", "failed_stale", "fine", "new", "stale"]
    assert found(registry, failed=True) == ["failed", "failed_stale"]
    assert found(registry, stale=True) == ["failed_stale", "stale"]
    assert found(registry, unconverted=True) == ["new"]
    assert found(registry, older_than=day) == ["failed_stale", "fine"]
    assert found(registry, older_than=-day) == ["failed", "failed_stale", "fine", "stale"]
    assert found(registry, failed=True, stale=True) == ["failed_stale"]
    assert found(registry, failed=True, older_than=day, where="ap_bbox < 35") == ["failed_stale"]
    assert found(registry, stale=True, where="latency_ms/torch/median > 1 and ap_bbox > 35") == ["stale"]
    assert found(registry, failed=True, unconverted=True) == []


@pytest.mark.parametrize("age", [timedelta(days=999_999), timedelta.max])
def test_nothing_is_older_than_all_time(registry, log, age):
    log()
    assert registry.models(older_than=age) == []


def test_of_an_older_version_nothing_is_found(registry, log):
    log(ap=30.0, passed=False, median_ms=50.0)
    log(ap=41.0, median_ms=10.0)

    assert found(registry, failed=True) == []
    assert found(registry, where="ap_bbox < 35") == []
    assert found(registry, where="latency_ms/torch/median > 40") == []
    newest = registry.catalog.client.search_logged_models(["1"], "tags.`roastery.newest` = 'yes'")
    assert [model.tags["roastery.key"] for model in newest] == [f"{2:064x}"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["set_logged_model_tags", "delete_logged_model_tag"])
def test_of_an_older_version_nothing_is_found_after_a_fault_either(
    registry, catalog, log, make_conversion, files, monkeypatch, step, when
):
    log(ap=30.0, passed=False, median_ms=50.0)
    genuine = getattr(catalog.client, step)

    def fail(*args, **kwargs):
        if when == "after":
            genuine(*args, **kwargs)
        raise MlflowException("injected fault", error_code=TEMPORARILY_UNAVAILABLE)

    better = make_conversion(name=NAME, key="b2" * 32, **figures(ap=41.0, median_ms=10.0))
    with monkeypatch.context() as faulty:
        faulty.setattr(catalog.client, step, fail)
        with pytest.raises(RegistryUnavailable, match="injected"):
            catalog.log(better, files)

    for _ in range(2):
        assert found(registry, where="latency_ms/torch/median > 40") == []
        assert found(registry, where="latency_ms/torch/median < 40") == [NAME]
        assert found(registry, failed=True) == []
        catalog.log(better, files)
    newest = catalog.client.search_logged_models(["1"], "tags.`roastery.newest` = 'yes'")
    assert [model.tags["roastery.key"] for model in newest] == ["b2" * 32]


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("reevaluated", "2020-01-01T00:00:00"),
        ("reevaluated", "yesterday"),
        ("reevaluation", "perhaps"),
        ("verdict", "<b>"),
        ("ap_bbox", "nan"),
        ("ap_bbox", "inf"),
        ("ap_bbox", "many"),
        ("reevaluation_figures", '{"ap_bbox": NaN}'),
        ("reevaluation_figures", '{"ap_bbox": 1' + "0" * 400 + "}"),
        ("reevaluation_figures", '{"ap_bbox": {}}'),
        ("reevaluation_figures", '{"ap_": [1], "ap_delta_": true, "x": 1}'),
        ("reevaluation_figures", "[" * 4000),
        ("model_id", "' OR 1=1"),
    ],
)
def test_a_tag_that_a_stranger_wrote_is_no_figure_and_no_error(registry, log, tag, said):
    log()
    registry.catalog.client.set_model_version_tag(f"{NAME}.caffe2", "1", tag, said)

    (row,) = registry.models()

    assert row.measured_at.utcoffset() == timedelta(0)
    assert all(value is None or math.isfinite(value) for value in row.ap.values())
    assert same_as_json(list[ModelAnswer], [row])
    assert found(registry, older_than=timedelta(days=1)) == ([NAME] if said.startswith("2020") else [])
    assert found(registry, where="ap_bbox != 1 and latency_ms/torch/median > 0") in ([], [NAME])


@pytest.mark.parametrize("name", HOSTILE)
def test_a_model_of_any_name_is_found_shown_told_of_promoted_and_fetched(
    registry, log, measure, add_source, tmp_path, name
):
    log("another")
    add_source(name)
    log(name)
    measure(name, ap=40.0, median_ms=10.0)

    assert found(registry) == sorted(["another", name])
    assert found(registry, where="latency_ms/torch/median < 15") == [name]
    assert registry.show(name).name == f"{name}.caffe2"
    assert registry.show(f"{name}.caffe2/1").version == 1
    registry.promote(name, reason="good")
    assert registry.show(f"{name}@production").version == 1
    assert [event.kind for event in registry.history(name)] == [
        *("registered", "converted", "alias", "measured again", "alias"),
    ]
    assert registry.fetch(name, tmp_path / "fetched").version == 1


def test_show_tells_all_that_is_known_of_a_version(registry, catalog, log, add_source, report, tmp_path):
    add_source()
    other = net(tmp_path / "net", "Conv", "Conv", "Relu")
    registered = log(report=report, others={"model.pb": other}.items(), settings={"seed": "7"})

    answer = registry.show(NAME)

    assert (answer.name, answer.version, answer.aliases) == (f"{NAME}.caffe2", 1, ("candidate",))
    assert answer.summary == registry.models()[0]
    assert answer.operators == {"Conv": 2, "Relu": 1}
    assert answer.files["model.pb"] == other.stat().st_size
    assert set(answer.files) == {"model.onnx", "model.pb", "model.pbtxt", "model.svg", "model_init.pb"}
    assert (answer.metrics["ap_bbox"], answer.metrics["latency_ms/torch/p90"]) == (39.5, 40.0)
    assert (answer.settings["seed"], answer.settings["dataset"]) == ("7", "shapes_val")
    assert answer.tags["verdict"] == "passed"
    assert answer.run_url == registered.run_url
    assert answer.command.startswith("roastery ")
    assert same_as_json(VersionAnswer, answer)


def test_a_version_is_shown_by_its_number_its_alias_or_as_the_newest(registry, log):
    log()
    log()
    registry.promote(NAME, reason="good", version=1)

    for name in (NAME, f"{NAME}.caffe2", f"models:/{NAME}"):
        assert registry.show(name).version == 2
        assert registry.show(f"{name}/1").version == 1
        assert registry.show(f"{name}@production").version == 1
        assert registry.show(f"{name}@candidate").version == 2
    assert registry.show(f"{NAME}/1").summary.aliases == registry.show(f"{NAME}/1").aliases == ("production",)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("nobody", "nobody: has no converted version in sqlite:"),
        (f"{NAME}/9", f"{NAME}/9: there is no such version; {NAME}.caffe2 has the aliases candidate"),
        (f"{NAME}@nobody", "there is no such version; "),
        (f"{NAME}@v1", "there is no such version; "),
        (f"{NAME}/latest", "is no registered model"),
        (f"{NAME}/1/2", "is no registered model"),
        (f"{NAME}/0", "is no registered model"),
        (f"{NAME}/" + "9" * 40, "is no registered model"),
        (f"{NAME}@a'b", "is no registered model"),
        ("", "has no converted version"),
        ("a\nb", "has no converted version"),
        ("x" * 5000, "has no converted version"),
    ],
)
def test_what_is_not_there_is_one_line(registry, log, asked, told):
    log()
    with pytest.raises(UserError) as caught:
        registry.show(asked)
    assert told in str(caught.value)
    assert str(caught.value).isprintable()


def test_the_figures_shown_are_the_latest(registry, log, measure):
    log(median_ms=20.0)
    measure(ap=41.0, median_ms=5.0)

    answer = registry.show(NAME)

    assert (answer.metrics["ap_bbox"], answer.metrics["latency_ms/torch/median"]) == (41.0, 5.0)
    assert answer.summary.ap == {"bbox": 41.0}


def test_a_metric_that_is_no_number_is_not_shown(registry, log):
    registered = log()
    registry.catalog.client.log_metric(registered.run_id, "theirs", math.nan)
    registry.catalog.client.log_metric(registered.run_id, "ours", 1.5)

    answer = registry.show(NAME)

    assert (answer.metrics.get("theirs"), answer.metrics["ours"]) == (None, 1.5)
    assert same_as_json(VersionAnswer, answer)


def test_a_version_whose_files_are_gone_is_shown_all_the_same(registry, log, tmp_path):
    log()
    for file in (tmp_path / "mlartifacts").rglob("*"):
        if file.is_file():
            file.unlink()

    answer = registry.show(NAME)

    assert (answer.operators, answer.files, answer.command) == ({}, {}, "")
    assert answer.metrics["ap_bbox"] == 39.5


def test_a_net_that_is_none_is_shown_without_operators(registry, log, tmp_path):
    log()
    for file in (tmp_path / "mlartifacts").rglob("model.pb"):
        file.write_bytes(b"\xff" * 100)

    assert registry.show(NAME).operators == {}


def test_a_diff_says_what_differs_and_nothing_of_what_does_not(registry, log, tmp_path):
    one, other = net(tmp_path / "1", "Conv", "Conv", "Relu"), net(tmp_path / "2", "Conv", "Relu", "Copy")
    log(others={"model.pb": one}.items(), settings={"seed": "7", "same": "1"})
    log(others={"model.pb": other}.items(), settings={"same": "1"}, ap=40.5)

    answer = registry.diff(NAME, 1, 2)

    assert (answer.name, answer.versions) == (f"{NAME}.caffe2", (1, 2))
    assert answer.metrics == {
        "ap_bbox": (39.5, 40.5),
        "ap_delta_bbox": (-0.5, 0.5),
        "delta/torch/bbox/AP": (-0.5, 0.5),
        "torch/bbox/AP": (39.5, 40.5),
    }
    assert answer.operators == {"Conv": (2, 1), "Copy": (0, 1)}
    assert answer.files == {"model.pb": (one.stat().st_size, other.stat().st_size)}
    assert answer.settings == {"seed": ("7", None)}
    assert answer.pictures == {}
    assert same_as_json(VersionsDiff, answer)
    turned = registry.diff(NAME, 2, 1)
    assert turned.metrics == {name: pair[::-1] for name, pair in answer.metrics.items()}


def test_a_version_does_not_differ_from_itself(registry, log, report):
    log(report=report)
    answer = registry.diff(NAME, 1, 1)
    assert (answer.metrics, answer.operators, answer.files, answer.settings) == ({}, {}, {}, {})


def test_a_diff_with_a_version_that_is_not_there_is_one_line(registry, log):
    log()
    with pytest.raises(ConfigError, match=f"{NAME}/2: there is no such version"):
        registry.diff(NAME, 1, 2)


@pytest.fixture
def pictured(log, report):
    """Two versions with pictures of a report: red above, blue and smaller below."""
    for colour, size in (("red", (30, 20)), ("blue", (10, 40))):
        Image.new("RGB", size, colour).save(report.with_name("report-1.png"))
        log(report=report)


def test_the_pictures_of_two_versions_are_one_above_the_other(registry, pictured, tmp_path):
    answer = registry.diff(NAME, 1, 2)
    assert list(answer.pictures) == ["report-1.png", "report-curves-bbox.svg"]

    for _ in range(2):
        # What was made here is replaced.
        assert registry.pictures_beside(answer, tmp_path / "beside") == [tmp_path / "beside" / "report-1.png"]

    picture = Image.open(tmp_path / "beside" / "report-1.png")
    # 8 pixels between them.
    assert picture.size == (30, 20 + 8 + 40)
    assert [picture.getpixel(at) for at in ((0, 0), (29, 19), (0, 24), (0, 28), (9, 67), (10, 67))] == [
        *((255, 0, 0), (255, 0, 0), (255, 255, 255), (0, 0, 255), (0, 0, 255), (255, 255, 255)),
    ]
    assert [path.name for path in (tmp_path / "beside").iterdir()] == ["report-1.png"]


def test_a_strangers_picture_is_not_replaced(registry, pictured, tmp_path):
    (tmp_path / "beside").mkdir()
    stranger = tmp_path / "beside" / "report-1.png"
    Image.new("RGB", (1, 1)).save(stranger)
    before = stranger.read_bytes()

    with pytest.raises(OutputError, match=r"report-1\.png: is there, and no picture of roastery"):
        registry.pictures_beside(registry.diff(NAME, 1, 2), tmp_path / "beside")

    assert stranger.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", "bomb"])
def test_a_picture_in_the_registry_that_is_none_is_one_line(registry, pictured, tmp_path, monkeypatch, content):
    if content == "bomb":
        # Pillow refuses what is more than twice as large.
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    else:
        next((tmp_path / "mlartifacts").rglob("report-1.png")).write_bytes(content)

    with pytest.raises(RegistryDamaged, match=r"report-1\.png: the registry's picture is none"):
        registry.pictures_beside(registry.diff(NAME, 1, 2), tmp_path / "beside")
    assert not (tmp_path / "beside").exists()


def test_history_tells_in_order_what_happened(registry, log, add_source, measure, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    add_source()
    log()
    measure(ap=30.0, passed=False)
    add_source(source_sha256="51" * 32)
    log(ap=40.5)
    registry.promote(NAME, reason="better")

    events = registry.history(NAME)

    assert [(event.kind, event.version) for event in events] == [
        *(("registered", 1), ("converted", 1), ("alias", 1), ("measured again", 1), ("alias", None)),
        *(("registered", 2), ("converted", 2), ("alias", 2), ("alias", 2)),
    ]
    assert events[0].said == f"RetinaNet, weights {'50' * 6}"
    assert events[1].said == "passed, judged by torch; differences: bbox -0.5000"
    assert (events[2].said, events[2].by) == ("passed its gate, judged by torch", "roastery")
    assert events[3].said == "failed; differences: bbox -10.0000"
    assert events[4].said.startswith("failed when measured again in ")
    assert (events[8].said, events[8].by, events[8].move.alias) == ("better", "ada", "production")
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert registry.history(f"{NAME}.caffe2") == events
    assert same_as_json(list[Event], events)


def test_of_a_model_that_was_only_registered_that_is_told(registry, add_source, log):
    add_source()
    log("another")
    assert [event.kind for event in registry.history(NAME)] == ["registered"]
    with pytest.raises(ConfigError, match="nobody: no such model in sqlite:"):
        registry.history("nobody")


def test_a_fetched_model_is_what_was_filed(registry, log, files, tmp_path):
    log()

    answer = registry.fetch(f"{NAME}@candidate", tmp_path / "new" / "fetched")

    names = {"model.onnx", "model.pb", "model.pbtxt", "model.svg", "model_init.pb"}
    assert (answer.name, answer.version, set(answer.files)) == (f"{NAME}.caffe2", 1, names)
    folder = Path(answer.folder)
    assert {path.name for path in folder.iterdir()} == names | {"manifest.json"}
    for name in names:
        assert (folder / name).read_bytes() == files[name].read_bytes()
        assert answer.files[name] == hashlib.sha256(files[name].read_bytes()).hexdigest()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest == {"model": f"{NAME}.caffe2", "version": 1, "files": answer.files}
    assert same_as_json(Fetched, answer)


def test_a_second_fetch_replaces_the_first(registry, log, tmp_path):
    log()
    other = net(tmp_path / "net", "Conv")
    log(others={"model.pb": other}.items())
    registry.fetch(f"{NAME}/1", tmp_path / "fetched")

    registry.fetch(f"{NAME}/2", tmp_path / "fetched")

    assert (tmp_path / "fetched" / "model.pb").read_bytes() == other.read_bytes()
    assert json.loads((tmp_path / "fetched" / "manifest.json").read_text())["version"] == 2


@pytest.mark.parametrize("stranger", ["notes.txt", "model.pb/"])
def test_a_folder_that_holds_something_else_is_refused_and_stays(registry, log, tmp_path, stranger):
    log()
    place = tmp_path / "fetched" / stranger
    place.parent.mkdir()
    place.mkdir() if stranger.endswith("/") else place.write_text("mine")

    with pytest.raises(OutputError, match="holds what is no converted model"):
        registry.fetch(NAME, tmp_path / "fetched")
    assert [path.name for path in (tmp_path / "fetched").iterdir()] == [place.name]


@pytest.mark.parametrize("damage", ["changed", "gone"])
@pytest.mark.parametrize("name", ["model.pb", "model_init.pb", "model.onnx", "model.pbtxt", "model.svg"])
def test_a_file_that_is_not_the_one_that_was_filed_is_refused_and_nothing_is_left(
    registry, log, tmp_path, name, damage
):
    registered = log()
    client = registry.catalog.client
    model_id = client.get_model_version(registered.name, "1").tags["model_id"]
    place = Path(client.get_logged_model(model_id).artifact_location.removeprefix("file://")) / name
    content = place.read_bytes()
    place.write_bytes(bytes([content[0] ^ 1]) + content[1:]) if damage == "changed" else place.unlink()
    before = sorted(tmp_path.iterdir())

    with pytest.raises(RegistryDamaged, match=f"{NAME}.caffe2 version 1: {name} in the registry is not the file"):
        registry.fetch(NAME, tmp_path / "new" / "fetched")

    assert sorted(tmp_path.iterdir()) == before
