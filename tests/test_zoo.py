"""The model zoo's configs by name: from a folder that the user names, or from an installed detectron2."""

import sys
from pathlib import Path

import pytest
import yaml

from roastery.config import load_config
from roastery.errors import ConfigError
from roastery.spec import load_model
from roastery.stages.resolve import pinned_config

NAME = "COCO-Detection/retinanet_R_50_FPN_1x.yaml"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def zoo(folder: Path, seed: int) -> Path:
    """A zoo of one config on a base one folder up, as detectron2's lie; the base says the seed."""
    write(folder / "Base-RetinaNet.yaml", f"SEED: {seed}\nMODEL:\n  META_ARCHITECTURE: RetinaNet\n")
    write(folder / NAME, '_BASE_: "../Base-RetinaNet.yaml"\nMODEL:\n  RESNETS:\n    DEPTH: 101\n')
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with nothing in it, and no zoo."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("ROASTERY_ZOO", raising=False)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package named detectron2 that has nothing but its zoo, and that cannot be imported."""
    package = tmp_path / "packages" / "detectron2"
    zoo(package / "model_zoo" / "configs", seed=2)
    write(package / "__init__.py", "raise RuntimeError('detectron2 was imported')\n")
    monkeypatch.syspath_prepend(str(package.parent))
    return package


def refusal(name: Path | str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(name)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("inside", ["", "configs"])
@pytest.mark.parametrize("name", [NAME, NAME.removesuffix(".yaml")])
def test_a_name_is_a_config_of_the_zoo_that_the_user_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, inside: str
) -> None:
    zoo(tmp_path / "checkout" / inside, seed=1)
    monkeypatch.setenv("ROASTERY_ZOO", str(tmp_path / "checkout"))
    config = load_config(name, ["MODEL.DEVICE", "cpu"])
    assert (config.SEED, config.MODEL.RESNETS.DEPTH, config.MODEL.META_ARCHITECTURE) == (1, 101, "RetinaNet")


def test_a_name_is_a_config_of_an_installed_detectron2_which_is_not_imported(installed: Path) -> None:
    assert load_config(NAME).SEED == 2
    assert "detectron2" not in sys.modules


def test_the_named_zoo_goes_before_the_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: Path
) -> None:
    monkeypatch.setenv("ROASTERY_ZOO", str(zoo(tmp_path / "mine", seed=3)))
    assert load_config(NAME).SEED == 3


def test_a_file_goes_before_the_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROASTERY_ZOO", str(zoo(tmp_path / "mine", seed=3)))
    write(Path(NAME), "SEED: 4\n")
    assert load_config(NAME).SEED == 4


def test_a_name_that_is_nowhere_is_told_with_where_it_was_looked_for_and_the_way_out() -> None:
    assert refusal(NAME) == (
        f"{NAME}: no such file, and no config of that name in ROASTERY_ZOO (not set) or an installed detectron2 "
        "(there is none); set ROASTERY_ZOO to the configs folder of a checkout of detectron2, or install detectron2"
    )


def test_of_a_zoo_that_is_there_near_names_are_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: Path
) -> None:
    monkeypatch.setenv("ROASTERY_ZOO", str(zoo(tmp_path / "mine", seed=3)))
    told = refusal("COCO-Detection/retinanet_R_50_FPN_9x")
    assert f"ROASTERY_ZOO ({tmp_path / 'mine'})" in told
    assert str(installed / "model_zoo" / "configs") in told
    assert told.endswith(f"; did you mean {NAME}?")
    assert refusal("nothing/like/it.yaml").endswith("; correct the name")


@pytest.mark.parametrize("climbing", ["../outside.yaml", "COCO-Detection/../../outside.yaml", "../outside"])
def test_a_name_does_not_climb_out_of_the_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, climbing: str) -> None:
    folder = zoo(tmp_path / "a" / "zoo", seed=3)
    write(folder.parent / "outside.yaml", "SEED: 5\n")
    assert load_config(folder.parent / "outside.yaml").SEED == 5
    monkeypatch.setenv("ROASTERY_ZOO", str(folder))
    assert "cannot be read (No such file or directory)" in refusal(climbing)


@pytest.mark.parametrize("name", ["a\0b.yaml", "n" * 5000, "", ".", "C:\\x.yaml", "https://host.example/x.yaml"])
def test_what_is_no_name_of_a_file_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("ROASTERY_ZOO", str(zoo(tmp_path / "mine", seed=3)))
    assert refusal(name)


@pytest.mark.parametrize("there", [False, True])
def test_a_lazy_config_is_code_and_is_not_run(tmp_path: Path, there: bool) -> None:
    name = "new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ.py"
    if there:
        write(Path(name), f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert "is a LazyConfig, which is Python code and is run with `--source detectron2` alone" in refusal(name)
    assert not (tmp_path / "ran").exists()


def test_a_registered_model_may_name_its_config_in_the_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROASTERY_ZOO", str(zoo(tmp_path / "mine", seed=3)))
    file = write(
        tmp_path / "configs" / "models" / "a.yaml",
        yaml.safe_dump({"name": "a", "config": NAME, "weights": "a.pkl", "dataset": "d"}),
    )
    assert load_model(file).config == tmp_path / "mine" / NAME
    assert pinned_config(load_model(file)).MODEL.RESNETS.DEPTH == 101
    # What lies beside `configs` goes first, as every path of the file starts there.
    write(tmp_path / NAME, "SEED: 6\n")
    assert load_model(file).config == tmp_path / NAME


def test_a_registered_model_whose_config_is_nowhere_is_told_of_the_zoo(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", f"name: a\nconfig: {NAME}\nweights: a.pkl\ndataset: d\n")
    with pytest.raises(ConfigError, match=rf"{tmp_path / NAME}: cannot be read .*ROASTERY_ZOO"):
        pinned_config(load_model(file))


def test_the_expression_of_detectron2s_own_base_for_retinanets_is_known_and_no_other(tmp_path: Path) -> None:
    # configs/Base-RetinaNet.yaml of detectron2 0.5, and the same with one space less.
    text = (
        "MODEL:\n  ANCHOR_GENERATOR:\n    SIZES: !!python/object/apply:eval "
        '["[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]"]\n'
    )
    sizes = load_config(write(tmp_path / "a.yaml", text)).MODEL.ANCHOR_GENERATOR.SIZES
    assert sizes[0] == pytest.approx([32, 40.3174736, 50.7968337])
    assert [len(level) for level in sizes] == [3] * 5
    assert sizes[4][2] == pytest.approx(512 * 4 ** (1 / 3))
    nested = text.replace('["', '[["').replace('"]', '"]]')
    for other in (text.replace("512 ]]", "512]]"), text.replace('"]', '", 1]'), nested):
        assert "apply:eval' is not read" in refusal(write(tmp_path / "b.yaml", other))
