"""Filed versions taken out of the registry again, and what a later evaluation of one found."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from roastery.errors import ConfigError, RegistryDamaged, RegistryUnavailable
from roastery.registry.aliases import moves
from roastery.registry.filed import fetched, file_reevaluation

NAME = "mask_rcnn_r50"


def test_a_version_comes_back_as_it_was_filed_and_its_folder_goes_with_the_block(catalog, make_conversion, files):
    catalog.log(make_conversion(), files)

    with fetched(catalog, f"{NAME}.caffe2") as filed:
        folder = filed.folder
        assert filed.version == 1
        # Word for word: a figure that is no number equals nothing, itself not.
        assert filed.conversion.model_dump_json() == make_conversion().model_dump_json()
        names = ("model.onnx", "model.pb", "model.pbtxt", "model.svg", "model_init.pb")
        assert {name: filed.digests[name] for name in names} == {
            name: hashlib.sha256(files[name].read_bytes()).hexdigest() for name in names
        }
        assert (folder / "model.pb").read_bytes() == files["model.pb"].read_bytes()

    assert not folder.exists()


def test_it_is_the_newest_unless_another_is_named(catalog, make_conversion, files):
    for number in range(1, 12):
        catalog.log(make_conversion(key=f"{number:02}" * 32), files)

    with fetched(catalog, f"{NAME}.caffe2") as newest, fetched(catalog, f"{NAME}.caffe2", 2) as second:
        assert (newest.version, newest.conversion.key) == (11, "11" * 32)
        assert (second.version, second.conversion.key) == (2, "02" * 32)


def test_of_a_model_that_was_never_converted_there_is_none(catalog, make_conversion, files):
    catalog.log(make_conversion(name="another"), files)

    with pytest.raises(ConfigError) as told, fetched(catalog, f"{NAME}.caffe2"):
        pass
    assert str(told.value) == f"model {NAME!r} has no converted version in {catalog.tracking_uri}; convert it first"


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"key": 1}'])
def test_a_conversion_that_cannot_be_read_is_one_line(catalog, make_conversion, files, content):
    run = catalog.client.get_run(catalog.log(make_conversion(), files).run_id)
    (Path(run.info.artifact_uri.removeprefix("file://")) / "conversion.json").write_bytes(content)

    with pytest.raises(RegistryDamaged) as told, fetched(catalog, f"{NAME}.caffe2"):
        pass
    assert f"conversion.json of {NAME}.caffe2 version 1 is of another Roastery, or damaged" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("lost", ["conversion.json", "the net"])
def test_files_that_are_not_there_may_come_and_are_one_line_that_names_the_registry(
    catalog, make_conversion, files, lost
):
    registered = catalog.log(make_conversion(), files)
    client = catalog.client
    place = client.get_model_version_download_uri(registered.name, "1")
    if lost == "conversion.json":
        place = f"{client.get_run(registered.run_id).info.artifact_uri}/{lost}"
    path = Path(place.removeprefix("file://"))
    path.rename(path.with_name("elsewhere"))

    with pytest.raises(RegistryUnavailable) as told, fetched(catalog, f"{NAME}.caffe2"):
        pass
    assert catalog.tracking_uri in str(told.value)
    assert "\n" not in str(told.value)


def test_a_reevaluation_filed_twice_is_one_run_and_the_versions_own_tags_stay(catalog, make_conversion, files):
    before = datetime.now(UTC).replace(microsecond=0)
    first = catalog.log(make_conversion(), files)
    own = catalog.client.get_model_version(first.name, "1").tags
    evaluation = make_conversion(passed=False).evaluation

    one = file_reevaluation(catalog, f"{NAME}.caffe2", 1, "e5" * 32, evaluation, {"prefect.flow_run_id": "f1"})
    two = file_reevaluation(catalog, f"{NAME}.caffe2", 1, "e5" * 32, evaluation, {"prefect.flow_run_id": "f1"})

    assert one == two
    filed = one.registered
    assert filed.run_id != first.run_id
    assert (filed.name, filed.version, filed.alias, filed.created) == (first.name, 1, None, False)
    run = catalog.client.get_run(filed.run_id)
    assert (run.info.status, run.data.tags["prefect.flow_run_id"]) == ("FINISHED", "f1")
    assert run.data.metrics["original/bbox/AP"] == 62.4725
    assert len(catalog.client.get_metric_history(filed.run_id, "original/bbox/AP")) == 1
    assert [item.path for item in catalog.client.list_artifacts(filed.run_id)] == ["evaluation.json"]
    assert [model.model_id for model in run.inputs.model_inputs] == [own["model_id"]]
    tags = catalog.client.get_model_version(first.name, "1").tags
    assert before <= datetime.fromisoformat(tags["reevaluated"]) <= datetime.now(UTC)
    figures = '{"ap_bbox":62.46,"ap_delta_bbox":-0.0125,"ap_original_bbox":62.4725}'
    told = {"reevaluated": tags["reevaluated"], "reevaluation": "failed", "reevaluation_figures": figures}
    assert tags == own | told
    # And the conversion is found as before, but for its alias.
    assert catalog.find(make_conversion()) == first.model_copy(update={"created": False, "alias": None})


def held_by(catalog, name=f"{NAME}.caffe2"):
    return {alias: int(version) for alias, version in catalog.client.get_registered_model(name).aliases.items()}


def test_a_version_that_does_not_pass_any_more_loses_the_gates_aliases_and_keeps_peoples(
    catalog, make_conversion, files
):
    first = catalog.log(make_conversion(judged_by="caffe2"), files)
    catalog.client.set_registered_model_alias(first.name, "production", "1")

    filed = file_reevaluation(catalog, f"{NAME}.caffe2", 1, "e5" * 32, make_conversion(passed=False).evaluation)

    assert (filed.taken, filed.kept) == (("candidate", "validated"), ("production",))
    assert held_by(catalog) == {"production": 1}
    recorded = moves(catalog.client.get_registered_model(first.name))
    assert [(move.alias, move.from_version, move.to_version) for move in recorded] == [
        *(("candidate", None, 1), ("validated", None, 1)),
        *(("candidate", 1, None), ("validated", 1, None)),
    ]
    assert filed.registered.run_id in recorded[-1].reason


def test_the_same_conversion_logged_again_does_not_give_back_what_a_reevaluation_took(catalog, make_conversion, files):
    catalog.log(make_conversion(), files)
    file_reevaluation(catalog, f"{NAME}.caffe2", 1, "e5" * 32, make_conversion(passed=False).evaluation)

    again = catalog.log(make_conversion(), files)

    assert (again.alias, held_by(catalog)) == (None, {})


def test_a_reevaluation_that_passes_again_earns_the_aliases_again_but_takes_none_from_a_later_version(
    catalog, make_conversion, files
):
    catalog.log(make_conversion(), files)
    file_reevaluation(catalog, f"{NAME}.caffe2", 1, "e5" * 32, make_conversion(passed=False).evaluation)

    back = file_reevaluation(catalog, f"{NAME}.caffe2", 1, "e6" * 32, make_conversion(judged_by="caffe2").evaluation)
    assert (back.registered.alias, held_by(catalog)) == ("validated", {"candidate": 1, "validated": 1})

    catalog.log(make_conversion(key="b2" * 32), files)
    file_reevaluation(catalog, f"{NAME}.caffe2", 1, "e7" * 32, make_conversion(judged_by="caffe2").evaluation)
    assert held_by(catalog) == {"candidate": 2, "validated": 1}


def test_the_figures_of_a_reevaluation_are_the_versions_own_models(catalog, make_conversion, files):
    first = catalog.log(make_conversion(), files)
    worse = make_conversion().evaluation.model_copy(update={"dataset_sha256": "db" * 32})

    filed = file_reevaluation(catalog, f"{NAME}.caffe2", 1, "e5" * 32, worse)

    model = catalog.client.get_logged_model(catalog.client.get_model_version(first.name, "1").tags["model_id"])
    runs = [point.run_id for point in model.metrics if point.key == "ap_bbox"]
    assert sorted(runs) == sorted([first.run_id, filed.registered.run_id])


def test_another_occasion_is_another_run(catalog, make_conversion, files):
    catalog.log(make_conversion(), files)

    runs = [
        file_reevaluation(catalog, f"{NAME}.caffe2", 1, key * 32, make_conversion().evaluation).registered.run_id
        for key in ("e5", "e6")
    ]

    assert len(set(runs)) == 2
    assert catalog.client.get_model_version(f"{NAME}.caffe2", "1").tags["reevaluation"] == "passed"
