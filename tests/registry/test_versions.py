"""Every version of every converted model, and what each says that it was made by."""

from pathlib import Path

import pytest

from roastery.errors import ConfigError, RegistryDamaged, RegistryUnavailable
from roastery.registry.catalog import Catalog, ConvertedVersion
from roastery.results import Conversion

ARTIFACTS = ("trace/01", "predict/02")


def conversion_file(catalog, registered):
    run = catalog.client.get_run(registered.run_id)
    return Path(run.info.artifact_uri.removeprefix("file://")) / "conversion.json"


def test_every_version_is_listed_of_every_converted_model_and_of_every_experiment(catalog, make_conversion, files):
    for number in range(1, 4):
        catalog.log(make_conversion(key=f"{number:02}" * 32), files)
    other = Catalog(catalog.tracking_uri, "another experiment")
    other.log(make_conversion(key="f0" * 32, name="b"), files)
    catalog.client.create_registered_model("not.ours")

    listed = catalog.versions()

    assert sorted((each.name, each.version) for each in listed) == [
        ("b.caffe2", 1),
        *((f"{make_conversion().resolved.name}.caffe2", number) for number in (1, 2, 3)),
    ]
    assert {catalog.conversion(each).key for each in listed} == {"f0" * 32, "01" * 32, "02" * 32, "03" * 32}


def test_a_database_that_is_not_there_is_one_line_and_is_not_made(tmp_path):
    catalog = Catalog(f"sqlite:///{tmp_path}/mistyped.db")
    with pytest.raises(ConfigError, match="no such registry; name the one that models are filed in"):
        catalog.versions()
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_says_what_it_was_made_by_and_an_older_one_what_it_names(catalog, make_conversion, files):
    conversion = make_conversion().model_copy(update={"artifacts": ARTIFACTS})
    registered = catalog.log(conversion, files)
    (version,) = catalog.versions()
    named = {f"{stage}/{conversion.key}" for stage in "rcope"}
    assert catalog.conversion(version).needed == named | set(ARTIFACTS)

    file = conversion_file(catalog, registered)
    older = conversion.model_dump(mode="json", exclude={"artifacts"})
    file.write_text(Conversion.model_validate(older).model_dump_json(exclude={"artifacts"}))
    assert "artifacts" not in file.read_text()
    assert catalog.conversion(version).needed == named


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"key": 1}'])
def test_one_that_cannot_be_read_is_named_in_one_line(catalog, make_conversion, files, content):
    conversion_file(catalog, catalog.log(make_conversion(), files)).write_bytes(content)
    (version,) = catalog.versions()
    with pytest.raises(RegistryDamaged, match=rf"conversion.json of {version.name} version 1 is of another Roastery"):
        catalog.conversion(version)


def test_one_that_is_gone_is_named_in_one_line(catalog, make_conversion, files):
    conversion_file(catalog, catalog.log(make_conversion(), files)).unlink()
    (version,) = catalog.versions()
    with pytest.raises(
        RegistryUnavailable, match=f"conversion.json of {version.name} version 1 cannot be read"
    ) as told:
        catalog.conversion(version)
    assert "\n" not in str(told.value)
    with pytest.raises(RegistryUnavailable, match="cannot be read"):
        catalog.conversion(ConvertedVersion("a.caffe2", 7, "0" * 32))


def test_what_a_later_run_made_the_same_conversion_by_is_added_and_nothing_else_changes(
    catalog, make_conversion, files
):
    conversion = make_conversion().model_copy(update={"artifacts": ARTIFACTS})
    catalog.log(conversion, files)
    again = make_conversion(images=7).model_copy(update={"artifacts": ("trace/03",)})
    assert not catalog.log(again, files).created
    (version,) = catalog.versions()
    filed = catalog.conversion(version)
    assert filed.needed == conversion.needed | {"trace/03"}
    assert filed.evaluation.images == conversion.evaluation.images


def test_the_same_run_again_writes_nothing(catalog, make_conversion, files):
    conversion = make_conversion().model_copy(update={"artifacts": ARTIFACTS})
    file = conversion_file(catalog, catalog.log(conversion, files))
    before = file.stat().st_mtime_ns
    catalog.log(conversion, files)
    assert file.stat().st_mtime_ns == before
