"""A user's model stays as it is while it is traced."""

import copy

import pytest
import torch
from torch import nn

from roastery.errors import UnsupportedModule
from roastery.sources.live.twin import frozen_twin


class Tied(nn.Module):
    """Two layers of one weight, a norm, and a list of the module's own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(3)
        self.said: list[str] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.second(self.first(x)))


def test_neither_mode_nor_gradients_of_the_users_model_change() -> None:
    model = Tied().train()
    before = copy.deepcopy(model.state_dict())
    twin = frozen_twin(model)
    twin(torch.ones(2, 3))
    twin.said.append("changed")
    twin.extra = 1
    assert model.training
    assert model.norm.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.said == []
    assert not hasattr(model, "extra")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert not twin.training
    assert not any(parameter.requires_grad for parameter in twin.parameters())


def test_weights_are_shared_and_stay_tied() -> None:
    model = Tied()
    twin = frozen_twin(model)
    assert twin.first.weight.data_ptr() == model.first.weight.data_ptr()
    assert twin.second.weight is twin.first.weight
    assert twin.norm.running_mean.data_ptr() == model.norm.running_mean.data_ptr()


def test_a_wrapped_model_is_unwrapped() -> None:
    model = Tied()
    assert type(frozen_twin(nn.DataParallel(model))) is Tied


def test_a_model_that_cannot_be_copied_is_refused_by_its_name() -> None:
    model = Tied()
    model.said = (each for each in ())  # type: ignore[assignment]
    with pytest.raises(UnsupportedModule, match=r"^Tied: cannot be copied to be traced \(cannot pickle 'generator'"):
        frozen_twin(model)
