"""A model that may be traced, while the user's own stays as it is."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from roastery.errors import UnsupportedModule


def frozen_twin(model: nn.Module) -> nn.Module:
    """The same model in eval mode on the CPU, without gradients. Weights that are there already are shared, not copied.

    Neither the mode nor the parameters of `model` change, and what the twin is made of is its own.

    Raises:
        UnsupportedModule: a module that cannot be copied.
    """
    model = getattr(model, "module", model) if isinstance(model, _WRAPPERS) else model
    known: dict[int, Any] = {}
    for parameter in model.parameters():
        known[id(parameter)] = nn.Parameter(_here(parameter), requires_grad=False)
    for buffer in model.buffers():
        known[id(buffer)] = _here(buffer)
    try:
        twin: nn.Module = copy.deepcopy(model, known)
    except (TypeError, RuntimeError) as error:
        raise UnsupportedModule(
            f"{type(model).__name__}: cannot be copied to be traced ({error}); keep such things out of modules"
        ) from error
    return twin.eval()


_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def _here(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.device("cpu"))
