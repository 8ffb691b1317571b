"""A batch, image by image."""

from torch import Tensor


def each_image(batch: Tensor) -> list[Tensor]:
    """(N, ...) as N tensors (1, ...); of one image the tensor itself, so that its net has no slices."""
    count = batch.shape[0]
    return [batch] if count == 1 else [batch[index : index + 1] for index in range(count)]
