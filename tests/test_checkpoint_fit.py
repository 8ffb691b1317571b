"""Tensors into a module: what fits, what is converted, and one line that names all that does not fit."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from roastery.checkpoint import load_checkpoint, load_into
from roastery.config import load_config
from roastery.errors import CheckpointError
from roastery.sources.native import load_detector

SUFFIXES = ["pkl", "pth", "safetensors"]


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("pixel_mean", torch.tensor([5.0]))
        self.register_buffer("anchors", torch.ones(4), persistent=False)


def small_state() -> dict[str, Tensor]:
    state = {name: torch.full(value.shape, 2.0) for name, value in Small().state_dict().items()}
    del state["pixel_mean"], state["norm.num_batches_tracked"]
    return state


def misfit(state: dict[str, Tensor]) -> str:
    module = Small()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_into(module, state, "model.pkl")
    if "NaN" not in str(caught.value):
        assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    message = str(caught.value)
    assert message.startswith("model.pkl: ")
    assert "\n" not in message
    return message


def test_tensors_are_copied_into_the_module() -> None:
    module, state = Small(), small_state()
    load_into(module, state, "model.pkl")
    state["fc.weight"].zero_()
    assert torch.equal(module.fc.weight, torch.full((2, 3), 2.0))
    assert torch.equal(module.norm.running_var, torch.full((2,), 2.0))


def test_what_detectron2_keeps_beside_the_weights_is_neither_needed_nor_surplus() -> None:
    module = Small()
    # As checkpoints from before release 0.5 hold them.
    beside = {f"proposal_generator.anchor_generator.cell_anchors.{level}": torch.zeros(3, 4) for level in range(5)}
    beside |= {"anchor_generator.cell_anchors.0": torch.zeros(9, 4), "norm.num_batches_tracked": torch.tensor(1)}
    beside |= {"pixel_mean": torch.zeros(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    load_into(module, small_state() | beside, "model.pkl")
    # The config says the mean, as in detectron2.
    assert module.pixel_mean.item() == 5.0


@pytest.mark.parametrize(
    "name", ["backbone.pixel_mean", "pixel_mean2", "anchors", "cell_anchors.0", "num_batches_tracked.weight"]
)
def test_names_that_only_look_like_it_are_surplus(name: str) -> None:
    assert f"1 surplus: {name} (1,)" in misfit(small_state() | {name: torch.zeros(1)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(dtype: torch.dtype) -> None:
    module = Small()
    load_into(module, {name: value.to(dtype) for name, value in small_state().items()}, "model.pkl")
    assert module.fc.weight.dtype == torch.float32
    assert torch.equal(module.fc.weight, torch.full((2, 3), 2.0))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64])
def test_what_is_no_float_is_refused(dtype: torch.dtype) -> None:
    name = str(dtype).removeprefix("torch.")
    message = misfit(small_state() | {"fc.bias": torch.ones(2, dtype=dtype)})
    assert f"1 of another type: fc.bias {name} instead of float32" in message


def test_all_that_does_not_fit_is_named_at_once() -> None:
    state = small_state()
    del state["fc.bias"], state["norm.weight"]
    state |= {"fc.weight": torch.zeros(2, 4), "mask_head.weight": torch.zeros(1)}
    assert misfit(state) == (
        "model.pkl: does not fit the config: 2 missing: fc.bias (2,), norm.weight (2,); "
        "1 surplus: mask_head.weight (1,); 1 of another shape: fc.weight (2, 4) instead of (2, 3); "
        "use the checkpoint that was trained with this config, or the config it was trained with"
    )


def test_a_long_list_is_shortened_and_says_how_long_it_was() -> None:
    message = misfit(small_state() | {f"extra{number}": torch.zeros(1) for number in range(200)})
    assert "200 surplus: extra0 (1,), extra1 (1,), extra2 (1,), extra3 (1,), extra4 (1,) and 195 more" in message


def test_a_backbones_weights_alone_are_called_that() -> None:
    assert "not a backbone's" in misfit({"stem.conv1.weight": torch.zeros(1)})


def test_a_name_that_holds_a_line_break_stays_in_one_line() -> None:
    assert r"a\nb" in misfit(small_state() | {"a\nb": torch.zeros(1)})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    state = small_state()
    state["fc.weight"][1, 2] = value
    assert "NaN or infinite values in fc.weight" in misfit(state)


def test_a_float64_too_large_for_float32_is_refused() -> None:
    assert "NaN or infinite values in fc.bias" in misfit(
        small_state() | {"fc.bias": torch.tensor([1e300, 1.0], dtype=torch.float64)}
    )


def test_the_demo_zoos_checkpoints_fit_their_configs(demo_model: Path) -> None:
    config, weights = load_config(demo_model / "config.yaml"), demo_model / "model_final.pkl"
    state = load_detector(config, weights).state_dict()
    for name, value in load_checkpoint(weights).items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(state[name], value)


def test_another_models_checkpoint_is_refused_by_the_tensors_that_differ(mask_model: Path, box_model: Path) -> None:
    with_masks, boxes_alone = (load_config(model / "config.yaml") for model in (mask_model, box_model))
    with pytest.raises(CheckpointError, match=r"8 missing: roi_heads\.mask_head\.mask_fcn1\.weight \(32, 32, 3, 3\)"):
        load_detector(with_masks, box_model / "model_final.pkl")
    with pytest.raises(CheckpointError, match=r"8 surplus: roi_heads\.mask_head\.mask_fcn1\.weight \(32, 32, 3, 3\)"):
        load_detector(boxes_alone, mask_model / "model_final.pkl")
