"""How an image is prepared for a net: as the caller says, else as the net says, else as detectron2 does by default."""

from yacs.config import CfgNode

from roastery.data.coco import MAX_SIDE
from roastery.data.preprocess import FORMATS
from roastery.errors import ModelFileError
from roastery.net_arguments import NetArguments, argument_of

MIN_SIZE, MAX_SIZE, FORMAT = 800, 1333, "BGR"
"""detectron2's defaults, for nets of the original converter, which say nothing."""


def preparation(
    net: NetArguments, min_size: int | None = None, max_size: int | None = None, format: str | None = None
) -> CfgNode:
    """What `to_input` asks of a config: INPUT.MIN_SIZE_TEST, INPUT.MAX_SIZE_TEST and INPUT.FORMAT.

    Args:
        net: what the net says of itself, with or without `min_size_test`, `max_size_test`, `input_format`.

    Raises:
        ModelFileError: a net argument that no image can be prepared by.
    """
    shortest = argument_of(net, "min_size_test", MIN_SIZE) if min_size is None else min_size
    longest = argument_of(net, "max_size_test", MAX_SIZE) if max_size is None else max_size
    order = argument_of(net, "input_format", FORMAT) if format is None else format
    for name, value, least, option in (
        ("min_size_test", shortest, 0, "--min-size"),
        ("max_size_test", longest, 1, "--max-size"),
    ):
        if not least <= value <= MAX_SIDE:
            raise ModelFileError(f"{name} is {value}, not {least} to {MAX_SIDE}; give {option}, or convert again")
    if order not in FORMATS:
        raise ModelFileError(f"input_format is {order!r}, not one of {', '.join(FORMATS)}; give --format")
    return CfgNode({"INPUT": {"MIN_SIZE_TEST": shortest, "MAX_SIZE_TEST": longest, "FORMAT": order}})
