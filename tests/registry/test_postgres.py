"""On PostgreSQL, as a team has it: filed, asked and promoted as beside a SQLite file."""

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from roastery.errors import ConfigError
from roastery.registry.aliases import moves
from roastery.registry.filed import file_reevaluation
from roastery.registry.registry import Registry
from roastery.registry.sources import download_source, register_source
from roastery.results import LatencySummary, VerdictSummary
from roastery.spec import ModelSpec

pytestmark = [pytest.mark.postgres, pytest.mark.xdist_group("postgres")]

HOSTILE = ["it's", 'the "best" one', "x' OR name LIKE '%", "größe \N{GRINNING FACE}", "back\\slash's", "100%_"]


@pytest.fixture
def registry(postgres, tmp_path):
    """A registry on the one database, with an experiment of the test's own, whose files lie in its folder."""
    made = Registry(postgres, tmp_path.name)
    made.catalog.client.create_experiment(tmp_path.name, artifact_location=(tmp_path / "kept").as_uri())
    return made


@pytest.fixture
def log(registry, make_conversion, files, tmp_path):
    count = 0

    def file(name, **said):
        nonlocal count
        count += 1
        key = hashlib.sha256(f"{tmp_path} {count}".encode()).hexdigest()
        conversion = make_conversion(name=name, key=key, **figures(**said))
        digests = {each: hashlib.sha256(path.read_bytes()).hexdigest() for each, path in files.items()}
        update = {
            "converted": conversion.converted.model_copy(update={"files": {n: digests[n] for n in NETS}}),
            "onnx": conversion.onnx.model_copy(update={"files": {"model.onnx": digests["model.onnx"]}}),
        }
        return registry.catalog.log(conversion.model_copy(update=update), files)

    return file


NETS = ("model.pb", "model_init.pb", "model.pbtxt", "model.svg")


def figures(ap=39.5, passed=True, median_ms=20.0):
    return {
        "passed": passed,
        "metrics": {"original": {"bbox": {"AP": 40.0}}, "torch": {"bbox": {"AP": ap}}},
        "verdicts": {"torch": VerdictSummary(passed=passed, reasons=(), deltas={"bbox/AP": ap - 40.0})},
        "latency": {"torch": LatencySummary(median_ms=median_ms, p90_ms=40.0, images=100)},
        "parity": (),
    }


def found(registry, *names, **asked):
    return [each.model for each in registry.models(**asked) if each.model in names]


def test_a_source_its_conversions_and_their_figures_are_found(registry, log, box_model, make_conversion, tmp_path):
    spec = ModelSpec(
        name="signs_in_postgres",
        config=box_model / "config.yaml",
        weights=str(box_model / "model_final.pkl"),
        dataset="few",
    )
    name = spec.name
    source = register_source(registry.catalog, spec, {"bbox/AP": 41.5})
    assert register_source(registry.catalog, spec).version == source.version == 1
    (tmp_path / "out").mkdir()
    _, checkpoint = download_source(registry.catalog, f"models:/{name}/1", tmp_path / "out")
    assert checkpoint.read_bytes() == Path(spec.weights).read_bytes()
    assert found(registry, name, unconverted=True) == [name]

    log(name, ap=30.0, median_ms=50.0)
    log(name, ap=41.0, median_ms=10.0)

    (row,) = (each for each in registry.models() if each.model == name)
    assert (row.source_version, row.converted_version, row.verdict, row.ap) == (1, 2, "passed", {"bbox": 41.0})
    assert row.stale == ("other weights than source version 1", "other config than source version 1")
    for where, models in (
        ("ap_bbox < 35", []),
        ("ap_delta_bbox > 0.5", [name]),
        ("latency_ms/torch/median > 40", []),
        ("latency_ms/torch/median < 40 and ap_bbox > 40", [name]),
        ("latency_ms/torch/median < 1.5e+16", [name]),
    ):
        assert found(registry, name, where=where) == models, where
    assert found(registry, name, failed=True) == []
    assert found(registry, name, stale=True, older_than=timedelta(0)) == [name]

    again = make_conversion(**figures(ap=20.0, passed=False, median_ms=90.0)).evaluation
    file_reevaluation(registry.catalog, f"{name}.caffe2", 2, "e5" * 32, again)
    assert found(registry, name, failed=True, where="latency_ms/torch/median > 40 and ap_bbox < 30") == [name]
    assert found(registry, name, where="latency_ms/torch/median < 40") == []
    assert registry.show(name).summary.ap == {"bbox": 20.0}
    assert registry.diff(name, 1, 2).metrics["ap_bbox"] == (30.0, 20.0)
    kinds = [event.kind for event in registry.history(name)]
    assert kinds[:2] == ["registered", "converted"]
    assert kinds.count("measured again") == 1


def test_aliases_are_moved_back_and_on_record(registry, log):
    name = "promoted_in_postgres"
    for ap in (39.0, 39.5, 40.0):
        log(name, ap=ap)
    for version in (1, 2, 1):
        registry.promote(name, reason=f"größer, 'better' \x00 {version}", version=version)

    assert registry.promote(name, reason="again", version=1) is None
    assert [registry.roll_back(name, reason="worse").to_version for _ in range(2)] == [2, 1]
    with pytest.raises(ConfigError, match="no version was called 'production' before version 1"):
        registry.roll_back(name, reason="worse")
    made = [each for each in moves(registry.catalog.registered_model(f"{name}.caffe2")) if each.alias == "production"]
    assert [(each.from_version, each.to_version) for each in made] == [(None, 1), (1, 2), (2, 1), (1, 2), (2, 1)]
    assert registry.show(f"{name}@production").version == 1
    assert registry.show(f"{name}@candidate").version == 3


@pytest.mark.parametrize("name", HOSTILE)
def test_a_model_of_any_name_is_found_shown_told_of_promoted_and_fetched(registry, log, files, tmp_path, name):
    log(name)

    assert found(registry, name, where="latency_ms/torch/median < 40") == [name]
    assert registry.show(name).name == f"{name}.caffe2"
    registry.promote(name, reason=name)
    assert [event.kind for event in registry.history(name)] == ["converted", "alias", "alias"]
    fetched = registry.fetch(f"{name}@production", tmp_path / "fetched")
    assert (Path(fetched.folder) / "model.pb").read_bytes() == files["model.pb"].read_bytes()


def test_what_is_not_there_is_one_line(registry):
    for asked in ("nobody", "nobody/1", "a\nb", ""):
        with pytest.raises(ConfigError, match="has no converted version in postgresql:"):
            registry.show(asked)
