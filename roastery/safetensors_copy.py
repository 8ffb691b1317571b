"""A checkpoint's tensors as a safetensors file: what anybody can read without a pickle."""

from pathlib import Path

from roastery.checkpoint import load_checkpoint


def write_safetensors(checkpoint: Path, target: Path) -> None:
    """The same tensors by the same names, in the same dtypes; the same checkpoint gives the same bytes.

    Raises:
        CheckpointError: see `load_checkpoint`.
    """
    from safetensors.torch import save_file

    tensors = load_checkpoint(checkpoint)
    for name in sorted(tensors):
        # The format holds no views: those that share memory, or skip in it, become tensors of their own.
        tensors[name] = tensors[name].contiguous().clone()
    save_file(tensors, target)
