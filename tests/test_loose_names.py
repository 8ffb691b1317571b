"""Names that are ends of a module's: as detectron2 matches them."""

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from roastery.checkpoint import load_checkpoint
from roastery.config import load_config
from roastery.loose_names import LooselyNamed, aligned
from roastery.sources.native import load_detector


def numbered(*names: str) -> LooselyNamed:
    return LooselyNamed({name: torch.tensor(float(number)) for number, name in enumerate(names)})


def wanted(*names: str) -> dict[str, Tensor]:
    return dict.fromkeys(names, torch.tensor(0.0))


def test_the_longest_end_is_taken() -> None:
    # The example that detectron2's own docstring gives.
    tensors = numbered("res2.conv1.weight", "conv1.weight")
    found = aligned(tensors, wanted("backbone.0.body.conv1.weight", "backbone.0.body.res2.conv1.weight"))
    assert found == {
        "backbone.0.body.conv1.weight": tensors["conv1.weight"],
        "backbone.0.body.res2.conv1.weight": tensors["res2.conv1.weight"],
    }


def test_an_end_begins_behind_a_dot() -> None:
    found = aligned(numbered("conv1.weight"), wanted("roi_heads.whatever_conv1.weight"))
    assert list(found) == ["conv1.weight"]


def test_an_end_of_two_names_is_refused() -> None:
    with pytest.raises(ValueError, match=r"its w may be a\.w or b\.w"):
        aligned(numbered("w"), wanted("a.w", "b.w"))


def test_a_norm_without_statistics_is_a_scale_and_a_shift() -> None:
    names = [f"a.norm.{each}" for each in ("weight", "bias", "running_mean", "running_var")]
    found = aligned(numbered("norm.weight", "norm.bias"), wanted(*names))
    assert (found["a.norm.running_mean"], found["a.norm.running_var"]) == (0, 1)
    # Of a norm that is not there nothing is made up.
    assert aligned(numbered("x"), wanted(*names)) == {"x": 0}


@pytest.mark.parametrize("suffix", ["pkl", "pth"])
def test_a_checkpoint_that_asks_for_it_is_matched_by_ends(mask_model: Path, tmp_path: Path, suffix: str) -> None:
    config = load_config(mask_model / "config.yaml")
    whole = load_checkpoint(mask_model / "model_final.pkl")
    ends = {name.removeprefix("backbone.").removeprefix("bottom_up."): tensor for name, tensor in whole.items()}
    assert ends.keys() != whole.keys()
    path = tmp_path / f"model.{suffix}"
    if suffix == "pkl":
        arrays = {name: tensor.numpy() for name, tensor in ends.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "torchvision", "matching_heuristics": True}))
    else:
        torch.save({"model": ends, "matching_heuristics": True}, path)
    expected = load_detector(config, mask_model / "model_final.pkl").state_dict()
    for name, tensor in load_detector(config, path).state_dict().items():
        assert torch.equal(tensor, expected[name]), name
