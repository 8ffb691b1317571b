"""Filed versions taken out of the registry again, and what a later evaluation of one found."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from roastery.errors import ConfigError, RegistryDamaged, RegistryUnavailable
from roastery.registry.filed import fetched, file_reevaluation

NAME = "mask_rcnn_r50"


def test_a_version_comes_back_as_it_was_filed_and_its_folder_goes_with_the_block(catalog, make_conversion, files):
    catalog.log(make_conversion(), files)

    with fetched(catalog, NAME) as filed:
        folder = filed.folder
        assert filed.version == 1
        # Word for word: a figure that is no number equals nothing, itself not.
        assert filed.conversion.model_dump_json() == make_conversion().model_dump_json()
        names = ("model.onnx", "model.pb", "model.pbtxt", "model.svg", "model_init.pb")
        assert filed.digests == {name: hashlib.sha256(files[name].read_bytes()).hexdigest() for name in names}
        assert (folder / "model.pb").read_bytes() == files["model.pb"].read_bytes()

    assert not folder.exists()


def test_it_is_the_newest_unless_another_is_named(catalog, make_conversion, files):
    for number in range(1, 12):
        catalog.log(make_conversion(key=f"{number:02}" * 32), files)

    with fetched(catalog, NAME) as newest, fetched(catalog, NAME, 2) as second:
        assert (newest.version, newest.conversion.key) == (11, "11" * 32)
        assert (second.version, second.conversion.key) == (2, "02" * 32)


def test_of_a_model_that_was_never_converted_there_is_none(catalog, make_conversion, files):
    catalog.log(make_conversion(name="another"), files)

    with pytest.raises(ConfigError) as told, fetched(catalog, NAME):
        pass
    assert str(told.value) == f"model {NAME!r} has no converted version in {catalog.tracking_uri}; convert it first"


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"key": 1}'])
def test_a_conversion_that_cannot_be_read_is_one_line(catalog, make_conversion, files, content):
    run = catalog.client.get_run(catalog.log(make_conversion(), files).run_id)
    (Path(run.info.artifact_uri.removeprefix("file://")) / "conversion.json").write_bytes(content)

    with pytest.raises(RegistryDamaged) as told, fetched(catalog, NAME):
        pass
    assert f"conversion.json of {NAME}.caffe2 version 1 is of another Roastery, or damaged" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("lost", ["conversion.json", "model"])
def test_files_that_are_not_there_may_come_and_are_one_line_that_names_the_registry(
    catalog, make_conversion, files, lost
):
    run = catalog.client.get_run(catalog.log(make_conversion(), files).run_id)
    path = Path(run.info.artifact_uri.removeprefix("file://")) / lost
    path.rename(path.with_name("elsewhere"))

    with pytest.raises(RegistryUnavailable) as told, fetched(catalog, NAME):
        pass
    assert catalog.tracking_uri in str(told.value)
    assert "\n" not in str(told.value)


def test_a_reevaluation_filed_twice_is_one_run_and_the_versions_own_tags_and_aliases_stay(
    catalog, make_conversion, files
):
    before = datetime.now(UTC).replace(microsecond=0)
    first = catalog.log(make_conversion(), files)
    own = catalog.client.get_model_version(first.name, "1").tags
    evaluation = make_conversion(passed=False).evaluation

    one = file_reevaluation(catalog, NAME, 1, "e5" * 32, evaluation)
    two = file_reevaluation(catalog, NAME, 1, "e5" * 32, evaluation)

    assert one == two
    assert one.run_id != first.run_id
    assert (one.name, one.version, one.alias, one.created) == (first.name, 1, None, False)
    run = catalog.client.get_run(one.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["original/bbox/AP"] == 62.4725
    assert len(catalog.client.get_metric_history(one.run_id, "original/bbox/AP")) == 1
    assert [item.path for item in catalog.client.list_artifacts(one.run_id)] == ["evaluation.json"]
    tags = catalog.client.get_model_version(first.name, "1").tags
    assert before <= datetime.fromisoformat(tags["reevaluated"]) <= datetime.now(UTC)
    assert tags == own | {"reevaluated": tags["reevaluated"], "reevaluation": "failed"}
    held = catalog.client.get_registered_model(first.name).aliases
    assert {alias: int(version) for alias, version in held.items()} == {"candidate": 1}
    # And the conversion is found as before.
    assert catalog.find(make_conversion()) == first.model_copy(update={"created": False})


def test_another_occasion_is_another_run(catalog, make_conversion, files):
    catalog.log(make_conversion(), files)

    runs = [file_reevaluation(catalog, NAME, 1, key * 32, make_conversion().evaluation).run_id for key in ("e5", "e6")]

    assert len(set(runs)) == 2
    assert catalog.client.get_model_version(f"{NAME}.caffe2", "1").tags["reevaluation"] == "passed"
