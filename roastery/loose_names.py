"""Tensors whose names are the ends of a module's: `res2.0.conv1.weight` of `backbone.bottom_up.res2.0.conv1.weight`.

Source: detectron2 0.6, checkpoint/c2_model_loading.py (`align_and_update_state_dicts`), and layers/batch_norm.py, for
what a FrozenBN has of which the checkpoint says nothing.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

_STATISTICS = {"running_mean": torch.zeros_like, "running_var": torch.ones_like}


class LooselyNamed(dict[str, Tensor]):
    """Tensors of a checkpoint that says, or is known, to name them so (`matching_heuristics`)."""


def aligned(tensors: LooselyNamed, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the module's names: each of them takes the longest end of it that there is.

    A norm that is only a scale and a shift gets a mean of 0 and a variance of 1. What fits no name keeps its own.

    Args:
        wanted: the module's state dict.

    Raises:
        ValueError: a name is the end of two of the module's.
    """
    found: dict[str, Tensor] = {}
    taken: dict[str, str] = {}
    for name in wanted:
        end = next((end for end in _ends(name) if end in tensors), None)
        if end is None:
            continue
        if end in taken:
            raise ValueError(f"its {end} may be {taken[end]} or {name}")
        taken[end] = name
        found[name] = tensors[end]
    for name, value in wanted.items():
        norm, _, statistic = name.rpartition(".")
        if statistic in _STATISTICS and name not in found and f"{norm}.weight" in found:
            found[name] = _STATISTICS[statistic](value)
    return found | {name: tensor for name, tensor in tensors.items() if name not in taken}


def _ends(name: str) -> Iterator[str]:
    """The name, and what is left of it behind each dot: the longest first."""
    while name:
        yield name
        name = name.partition(".")[2]
