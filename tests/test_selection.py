"""Which models a fleet takes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roastery.digest import file_sha256
from roastery.errors import ConfigError
from roastery.results import ConvertedSource
from roastery.selection import Only, Selection, export_tag, select
from roastery.spec import ExportSpec, ModelSpec
from roastery.stages.resolve import config_sha256

NAMES = ("faster_r101", "faster_r50", "mask_r101", "mask_r50")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelSpec]:
    folder = tmp_path_factory.mktemp("models")
    made = {}
    for name in NAMES:
        (folder / f"{name}.yaml").write_text(f"MODEL:\n  ROI_HEADS:\n    NUM_CLASSES: {len(name)}\n")
        (folder / f"{name}.pkl").write_bytes(name.encode())
        tags = ("team=a", "r50") if name.endswith("r50") else ("team=a",)
        made[name] = ModelSpec(
            name=name, config=folder / f"{name}.yaml", weights=str(folder / f"{name}.pkl"), dataset="d", tags=tags
        )
    return made


def as_filed(model: ModelSpec, **changes: str | None) -> ConvertedSource:
    source = ConvertedSource(
        version=1,
        source_sha256=file_sha256(Path(model.weights)),
        config_sha256=config_sha256(model),
        export=export_tag(model),
    )
    return source.model_copy(update=changes)


def chosen(
    models: dict[str, ModelSpec], *names: str, tags: tuple[str, ...] = (), only: Only = "all", **filed: ConvertedSource
) -> list[str]:
    selection = Selection(names=names, tags=tags, only=only)
    return list(select(models, selection, lambda: {f"{name}.caffe2": each for name, each in filed.items()}))


def test_names_come_in_the_order_asked_for_each_once_and_a_globs_by_name(models: dict[str, ModelSpec]) -> None:
    assert chosen(models) == list(NAMES)
    assert chosen(models, "mask_r50", "faster_r50", "mask_r50") == ["mask_r50", "faster_r50"]
    assert chosen(models, "*_r50", "mask_*") == ["faster_r50", "mask_r50", "mask_r101"]


def test_all_tags_must_be_carried(models: dict[str, ModelSpec]) -> None:
    assert chosen(models, tags=("r50", "team=a")) == ["faster_r50", "mask_r50"]
    with pytest.raises(ConfigError, match="no model carries the tags r18; there are r50, team=a"):
        chosen(models, tags=("r18",))


def test_a_name_or_a_glob_that_is_no_models_is_a_mistake(models: dict[str, ModelSpec]) -> None:
    with pytest.raises(ConfigError, match="no model 'mask_r5' is registered; did you mean mask_r50"):
        chosen(models, "mask_r5")
    with pytest.raises(ConfigError, match=r"no model 'zz\*' is registered; there are faster_r101, faster_r50"):
        chosen(models, "zz*")


def test_a_name_is_no_path_and_no_pattern_of_another_kind(models: dict[str, ModelSpec]) -> None:
    for asked in ("../mask_r50", "mask_r50/", "^mask", ""):
        with pytest.raises(ConfigError):
            chosen(models, asked)


def test_new_is_what_has_no_converted_version_and_changed_what_has_one_of_another_source(
    models: dict[str, ModelSpec],
) -> None:
    filed = {
        "faster_r50": as_filed(models["faster_r50"]),
        "mask_r101": as_filed(models["mask_r101"], source_sha256="0" * 64),
        "mask_r50": as_filed(models["mask_r50"], config_sha256="0" * 64),
    }
    assert chosen(models, only="new", **filed) == ["faster_r101"]
    assert chosen(models, only="changed", **filed) == ["mask_r101", "mask_r50"]
    assert chosen(models, only="new or changed", **filed) == ["faster_r101", "mask_r101", "mask_r50"]
    assert chosen(models, only="all", **filed) == list(NAMES)


def test_a_model_is_new_until_every_target_has_a_version_and_changed_where_one_is_of_another_source(
    models: dict[str, ModelSpec],
) -> None:
    model = models["mask_r50"]
    both = {"mask_r50": model.model_copy(update={"targets": ("caffe2", "onnxruntime")})}

    def state(**filed: ConvertedSource) -> list[Only]:
        said = {f"mask_r50.{suffix}": each for suffix, each in filed.items()}
        return [only for only in ("new", "changed") if select(both, Selection(only=only), lambda: said)]

    assert state(caffe2=as_filed(model)) == ["new"]
    assert state(caffe2=as_filed(model), onnx=as_filed(model, source_sha256="0" * 64)) == ["changed"]
    assert state(caffe2=as_filed(model), onnx=as_filed(model)) == []
    # The pipeline's targets are those of a model that names none.
    usual = select(
        {"mask_r50": model}, Selection(only="new"), lambda: {"mask_r50.caffe2": as_filed(model)}, ("onnxruntime",)
    )
    assert list(usual) == ["mask_r50"]


def test_another_kind_of_net_is_a_change(models: dict[str, ModelSpec]) -> None:
    model = models["mask_r50"]
    batched = {model.name: model.model_copy(update={"export": ExportSpec(batch=4)})}
    assert chosen(batched, only="changed", mask_r50=as_filed(model)) == [model.name]
    assert chosen(batched, only="changed", mask_r50=as_filed(batched[model.name])) == []


def test_what_cannot_be_read_is_left_to_its_own_run_to_tell(models: dict[str, ModelSpec]) -> None:
    model = models["mask_r50"]
    for broken in ({"weights": "/nowhere/w.pkl"}, {"config": Path("/nowhere/c.yaml")}):
        lost = {model.name: model.model_copy(update=broken)}
        assert chosen(lost, only="changed", mask_r50=as_filed(model)) == [model.name]


def test_a_digest_that_the_spec_says_spares_reading_the_weights(models: dict[str, ModelSpec]) -> None:
    model = models["mask_r50"]
    told = model.model_copy(update={"weights": "/nowhere/w.pkl", "weights_sha256": file_sha256(Path(model.weights))})
    assert chosen({model.name: told}, only="changed", mask_r50=as_filed(model)) == []


def test_the_registry_is_asked_only_where_it_matters(models: dict[str, ModelSpec]) -> None:
    asked: list[int] = []

    def converted() -> dict[str, ConvertedSource]:
        asked.append(1)
        return {}

    select(models, Selection(), converted)
    assert asked == []
    select(models, Selection(only="new"), converted)
    assert asked == [1]


@given(
    st.lists(st.sampled_from([*NAMES, "*", "*r50", "faster_*", "?ask_r50", "[fm]*_r101"])),
    st.sets(st.sampled_from(["team=a", "r50"])),
    st.sets(st.sampled_from(NAMES)),
)
def test_new_and_not_new_are_all_and_nothing_twice(
    models: dict[str, ModelSpec], names: list[str], tags: set[str], filed: set[str]
) -> None:
    try:
        everything = chosen(models, *names, tags=tuple(tags))
    except ConfigError:
        # Globs of models of which none carries the tags.
        return
    sources = {name: as_filed(models[name]) for name in filed}
    new = chosen(models, *names, tags=tuple(tags), only="new", **sources)
    assert len(everything) == len(set(everything))
    assert new == [name for name in everything if name not in filed]
    assert chosen(models, *names, tags=tuple(tags), only="new or changed", **sources) == new
