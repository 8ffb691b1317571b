"""Names that somebody else chose, in a real MLflow: they are data there, in no filter and no path."""

import re

import pytest

from roastery.errors import RegistryRefused
from roastery.registry.catalog import Catalog

# A name of plain letters alone, where each other one may be any.
FILTER = re.compile(r"(tags\.`roastery\.key` =|name (=|LIKE)) '[A-Za-z0-9_.-]+'")
HOSTILE = ["a' OR ''='", 'a" OR 1=1 --', "a`; DROP TABLE runs", "<script>alert(1)</script>", "%", "\u202egnp.a", "a\nb"]


@pytest.fixture
def filters(catalog, monkeypatch):
    """Every filter that the catalog asks MLflow with."""
    asked = []

    def overheard(search):
        def ask(*arguments, **options):
            asked.extend(given for given in (*arguments, *options.values()) if isinstance(given, str))
            return search(*arguments, **options)

        return ask

    for name in ("search_model_versions", "search_runs"):
        monkeypatch.setattr(catalog.client, name, overheard(getattr(catalog.client, name)))
    return asked


def test_no_hostile_name_comes_into_a_filter_and_each_is_one_version(catalog, make_conversion, files, filters):
    logged, refusals = {}, []
    for number, name in enumerate(HOSTILE):
        metrics = {
            "original": {"bbox": {"AP": 62.0, f"AP-{name}": 1.0}},
            "torch": {"bbox": {"AP": 62.0, f"AP-{name}": 1.0}},
        }
        conversion = make_conversion(key=f"{number:064x}", name=name, dataset=name, metrics=metrics)
        try:
            logged[name] = catalog.log(conversion, files)
        except RegistryRefused as refusal:
            # MLflow's word; what it takes, and what not, is its own affair.
            refusals.append(str(refusal))
        else:
            assert catalog.log(conversion, files) == logged[name].model_copy(update={"created": False})
    assert len(logged) > 2
    assert all(refusal.isprintable() for refusal in refusals)
    assert filters
    assert [text for text in filters if not FILTER.fullmatch(text)] == []
    for name, registered in logged.items():
        assert (registered.name, registered.version) == (f"{name}.caffe2", 1)


@pytest.mark.parametrize("name", ["../x", "a/b", "a:b"])
def test_a_name_that_mlflow_would_take_for_a_path_is_refused(catalog, make_conversion, files, tmp_path, name):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RegistryRefused) as caught:
        catalog.log(make_conversion(name=name), files)
    assert str(caught.value).isprintable()
    assert [path for path in tmp_path.rglob("*") if path not in before and path.name != "mlflow.db.lock"] == []


@pytest.mark.parametrize("key", ["' OR ''='", "a b", "", "a`", "é"])
def test_a_key_that_could_leave_its_quotes_is_never_asked_for(catalog, make_conversion, files, filters, key):
    with pytest.raises(ValueError, match="a conversion's key is letters, digits"):
        catalog.log(make_conversion().model_copy(update={"key": key}), files)
    assert filters == []


@pytest.mark.parametrize("experiment", ["../../outside", "/tmp/outside", "..", "a/b", "<script>", "a\0b", ""])
def test_an_experiment_that_is_no_folders_name_is_refused(catalog, make_conversion, files, tmp_path, experiment):
    with pytest.raises(RegistryRefused, match="is no name of a folder"):
        Catalog(catalog.tracking_uri, experiment).log(make_conversion(), files)
    assert not (tmp_path / "mlartifacts").exists()
