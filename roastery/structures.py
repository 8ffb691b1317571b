"""What a detector found: boxes, and instances that carry them, with detectron2's names and meanings."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

Index = int | slice | Tensor
"""One instance, a range, a bool mask (n,) or indices (k,)."""


class Boxes:
    """Boxes of one image.

    `tensor` is (n, 4) float32, xyxy, pixels; (0, 0) is the outer corner of the first pixel. `scale` and `clip` change
    the boxes in place, as detectron2's do.

    Source: detectron2 0.5, structures/boxes.py.
    """

    def __init__(self, tensor: Tensor) -> None:
        tensor = torch.as_tensor(tensor, dtype=torch.float32)
        if tensor.numel() == 0:
            tensor = tensor.reshape(-1, 4)
        if tensor.dim() != 2 or tensor.shape[1] != 4:
            raise ValueError(f"boxes must be (n, 4), not {tuple(tensor.shape)}")
        self.tensor = tensor

    def area(self) -> Tensor:
        """(n,) float32, square pixels."""
        widths, heights = self._sides()
        return widths * heights

    def nonempty(self, threshold: float = 0.0) -> Tensor:
        """(n,) bool: both sides are longer than `threshold` pixels. False where a side is NaN."""
        widths, heights = self._sides()
        return (widths > threshold) & (heights > threshold)

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Multiply x by `scale_x` and y by `scale_y`, in place."""
        self.tensor[:, 0::2] *= scale_x
        self.tensor[:, 1::2] *= scale_y

    def clip(self, size: tuple[int, int]) -> None:
        """Limit x to [0, width] and y to [0, height], in place; `size` is (height, width)."""
        height, width = size
        self.tensor[:, 0::2] = self.tensor[:, 0::2].clamp(0, width)
        self.tensor[:, 1::2] = self.tensor[:, 1::2].clamp(0, height)

    def clone(self) -> "Boxes":
        return Boxes(self.tensor.clone())

    def to(self, *args: Any, **kwargs: Any) -> "Boxes":
        return Boxes(self.tensor.to(*args, **kwargs))

    def __getitem__(self, index: Index) -> "Boxes":
        if isinstance(index, int):
            return Boxes(self.tensor[index].reshape(1, 4))
        return Boxes(self.tensor[index])

    def __len__(self) -> int:
        return len(self.tensor)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tensor)

    def __repr__(self) -> str:
        return f"Boxes({self.tensor})"

    def _sides(self) -> tuple[Tensor, Tensor]:
        return self.tensor[:, 2] - self.tensor[:, 0], self.tensor[:, 3] - self.tensor[:, 1]


class Instances:
    """The instances of one image, as fields of one length: `pred_boxes`, `scores`, `pred_classes`, `pred_masks`.

    A field is an attribute. Indexing gives the instances with every field indexed.

    Source: detectron2 0.5, structures/instances.py.

    Examples:
        >>> found = Instances((480, 640), scores=torch.tensor([0.9, 0.2]))
        >>> len(found[found.scores > 0.5])
        1
    """

    _image_size: tuple[int, int]
    _fields: dict[str, Any]

    def __init__(self, image_size: tuple[int, int], **fields: Any) -> None:
        """Start with `fields`; `image_size` is (height, width) in pixels."""
        super().__setattr__("_image_size", (int(image_size[0]), int(image_size[1])))
        super().__setattr__("_fields", {})
        for name, value in fields.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width), pixels."""
        return self._image_size

    def set(self, name: str, value: Any) -> None:
        """Set a field.

        Raises:
            ValueError: its length differs from the other fields'.
        """
        others = [field for other, field in self._fields.items() if other != name]
        if others and len(others[0]) != len(value):
            raise ValueError(f"field {name!r} has {len(value)} entries for {len(others[0])} instances")
        self._fields[name] = value

    def get(self, name: str) -> Any:
        return self._fields[name]

    def has(self, name: str) -> bool:
        return name in self._fields

    def remove(self, name: str) -> None:
        del self._fields[name]

    def get_fields(self) -> dict[str, Any]:
        """Name to value of every field; changing the dictionary changes the instances."""
        return self._fields

    def to(self, *args: Any, **kwargs: Any) -> "Instances":
        """The instances with `to` called on every field that has it."""
        moved = {name: v.to(*args, **kwargs) if hasattr(v, "to") else v for name, v in self._fields.items()}
        return Instances(self.image_size, **moved)

    def __getattr__(self, name: str) -> Any:
        # Copying and unpickling ask before `_fields` is there.
        fields = self.__dict__.get("_fields", {})
        if name not in fields:
            raise AttributeError(f"these instances have no field {name!r}; they have {sorted(fields)}")
        return fields[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self.set(name, value)

    def __getitem__(self, index: Index) -> "Instances":
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"instance {index} of {len(self)}")
            index = slice(index, index + 1 or None)
        return Instances(self.image_size, **{name: value[index] for name, value in self._fields.items()})

    def __len__(self) -> int:
        """The number of instances. Without a field there is none to count, which detectron2 refuses too."""
        for value in self._fields.values():
            return len(value)
        raise NotImplementedError("instances without a field have no length")

    def __iter__(self) -> Iterator["Instances"]:
        raise NotImplementedError("instances are not iterable; index them")

    def __repr__(self) -> str:
        count = len(self) if self._fields else 0
        fields = ", ".join(f"{name}: {value}" for name, value in self._fields.items())
        return f"Instances(num_instances={count}, image_size={self.image_size}, fields=[{fields}])"
