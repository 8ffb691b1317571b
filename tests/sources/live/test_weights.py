"""A live model's weights: detectron2's checkpointer behind a reader that executes nothing."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from roastery.checkpoint import load_checkpoint
from roastery.errors import CheckpointError
from roastery.results import ModelSource
from roastery.sources.live.weights import load_weights
from roastery.sources.source import open_source

pytestmark = pytest.mark.detectron2


@pytest.fixture
def model(box_model: Path) -> Any:
    source = open_source(ModelSource(kind="detectron2", config=str(box_model / "config.yaml")))
    return source._model  # type: ignore[attr-defined]


class Attack:
    """Would make a file, if it were unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.mark,))


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(model: Any, tmp_path: Path) -> None:
    content = {"model": {"w": Attack(tmp_path / "ran")}, "__author__": "me"}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError):
        load_weights(model, tmp_path / "w.pkl")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".safetensors"])
def test_every_kind_of_checkpoint_loads(model: Any, box_model: Path, tmp_path: Path, suffix: str) -> None:
    from safetensors.torch import save_file

    tensors = load_checkpoint(box_model / "model_final.pkl")
    file = tmp_path / f"w{suffix}"
    if suffix == ".pkl":
        file = box_model / "model_final.pkl"
    elif suffix == ".pth":
        torch.save({"model": tensors}, file)
    else:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    load_weights(model, file)
    assert torch.equal(model.state_dict()["backbone.fpn_lateral2.weight"], tensors["backbone.fpn_lateral2.weight"])


def test_names_that_the_heuristics_match_load_too(model: Any, box_model: Path, tmp_path: Path) -> None:
    tensors = load_checkpoint(box_model / "model_final.pkl")
    loose = {name.removeprefix("backbone.bottom_up."): tensor.numpy() for name, tensor in tensors.items()}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"model": loose, "matching_heuristics": True, "__author__": "me"}))
    load_weights(model, tmp_path / "w.pkl")
    name = "backbone.bottom_up.stem.conv1.weight"
    assert torch.equal(model.state_dict()[name], tensors[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("backbone.fpn_lateral2.weight"), "1 missing: backbone.fpn_lateral2.weight"),
        (lambda state: state.update(mine=torch.zeros(2)), "1 surplus: mine"),
        (lambda state: state.update({"backbone.fpn_lateral2.bias": torch.zeros(2)}), "1 of another shape"),
        (lambda state: state["backbone.fpn_lateral2.bias"].fill_(float("nan")), "NaN or infinite values in backbone"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_its_names(
    model: Any, box_model: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    state = {name: tensor.clone() for name, tensor in load_checkpoint(box_model / "model_final.pkl").items()}
    change(state)
    torch.save({"model": state}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=message):
        load_weights(model, tmp_path / "w.pth")
