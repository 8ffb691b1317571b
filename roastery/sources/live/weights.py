"""A live model's weights: by detectron2's own checkpointer, from what our reader makes of the file.

The checkpointer's reader unpickles; ours executes nothing. What the checkpointer knows of old names stays its own.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from roastery.checkpoint import NOT_WEIGHTS, load_checkpoint, require_finite, some_of
from roastery.errors import CheckpointError
from roastery.loose_names import LooselyNamed
from roastery.sources.live.importing import detectron2


def load_weights(model: nn.Module, weights: Path, sha256: str | None = None) -> None:
    """Load a checkpoint into a live model.

    Args:
        sha256: the digest that the file must have.

    Raises:
        CheckpointError: as `roastery.checkpoint.load_checkpoint`; or the file does not fit the model. detectron2 itself
            would only log that a weight is missing.
    """
    tensors = load_checkpoint(weights, sha256)
    checkpointer = _safe_checkpointer(model, tensors)
    with torch.no_grad():
        checkpointer.load(str(weights))
    problems = {
        "missing": _weights(checkpointer.found.missing_keys),
        "surplus": _weights(checkpointer.found.unexpected_keys),
        "of another shape": [name for name, *_ in checkpointer.found.incorrect_shapes],
    }
    if any(problems.values()):
        told = "; ".join(f"{len(names)} {problem}: {some_of(names)}" for problem, names in problems.items() if names)
        raise CheckpointError(
            f"{weights}: does not fit the model: {told}; use the checkpoint that was trained with this config"
        )
    broken = [name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()]
    require_finite(broken, weights)


def _weights(names: Iterable[str]) -> list[str]:
    return [name for name in names if not NOT_WEIGHTS.fullmatch(name)]


def _safe_checkpointer(model: nn.Module, tensors: dict[str, Any]) -> Any:
    base: Any = detectron2("checkpoint").DetectionCheckpointer

    class SafeCheckpointer(base):  # type: ignore[misc]
        """detectron2's, which is given what was read, and says what did not fit."""

        found: Any

        def _load_file(self, filename: str) -> dict[str, Any]:
            return {"model": dict(tensors), "matching_heuristics": isinstance(tensors, LooselyNamed)}

        def _load_model(self, checkpoint: Any) -> Any:
            self.found = super()._load_model(checkpoint)
            return self.found

    # It logs every name that it matches.
    logging.getLogger("fvcore.common.checkpoint").setLevel(logging.ERROR)
    logging.getLogger("detectron2.checkpoint.c2_model_loading").setLevel(logging.ERROR)
    return SafeCheckpointer(model)
