"""What each config of the zoo comes to: it converts, or is refused, and in which words.

The tests hold every verdict: `tests/model_zoo/test_conversions.py` converts what is not refused here, and asks for each
refusal.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase

_DEFORMABLE = (
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE: Caffe2 has no CPU kernel for deformable convolution (DeformConv); "
    "train the model without it"
)

_REFUSED: Mapping[str, str] = {
    "Misc/*dconv*": _DEFORMABLE,
}
"""Glob over names, to the line that refuses the configs; the last that fits holds."""


def refusal(name: str) -> str | None:
    """The line in which a config of the zoo is refused; None where it converts."""
    lines = [line for pattern, line in _REFUSED.items() if fnmatchcase(name, pattern)]
    return lines[-1] if lines else None
