"""What a converted model's net says of itself, by name: read by type, whichever file it lies in."""

import json
import re
from collections.abc import Mapping
from typing import TypeVar, cast

from roastery.errors import ModelFileError
from roastery.metadata import BATCH_ARGUMENT, NET_ARGUMENTS_KEY

ArgumentValue = int | float | str | list[int] | list[float] | list[str]
NetArguments = Mapping[str, ArgumentValue]

_Value = TypeVar("_Value", int, float, str, list[int], list[float])
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def argument_of(arguments: NetArguments, name: str, default: _Value) -> _Value:
    """The value of a net's argument; the default where there is none.

    Raises:
        ModelFileError: the argument is of another type than the default (a whole number passes for a float).
    """
    if name not in arguments:
        return default
    found = arguments[name]
    value = _as_type_of(default, found)
    if value is None:
        raise ModelFileError(f"net argument {name!r} holds {found!r}, not such as {default!r}")
    return cast(_Value, value)


def batch_of(arguments: NetArguments) -> int:
    """How many images a net takes at once.

    Raises:
        ModelFileError: its argument is no whole number.
    """
    return max(argument_of(arguments, BATCH_ARGUMENT, 1), 1)


def parse_arguments(text: str) -> Mapping[str, int | float | str | list[int] | list[float]]:
    """The arguments that an ONNX model's metadata hold as JSON.

    Raises:
        ModelFileError: they are none.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(_is_text(name) and _is_argument(value) for name, value in found.items()):
        raise ModelFileError(
            f"the ONNX model's {NET_ARGUMENTS_KEY} are not numbers, texts and lists of numbers by name; export it again"
        )
    return found


def _is_argument(value: object) -> bool:
    numbers = value if isinstance(value, list) else [value]
    return _is_text(value) or all(
        type(number) is float or (type(number) is int and -(2**63) <= number < 2**63) for number in numbers
    )


def _is_text(value: object) -> bool:
    """Whether it is a string that UTF-8 can write: JSON can also hold halves of a character."""
    return isinstance(value, str) and not _SURROGATE.search(value)


def _as_type_of(default: ArgumentValue, value: ArgumentValue) -> ArgumentValue | None:
    """The value if it is of the default's type, or a whole number where the default is a float."""
    if isinstance(default, list) and isinstance(value, list):
        kind = type(default[0]) if default else None
        if kind is float and all(isinstance(item, int | float) for item in value):
            return [float(item) for item in value]
        return value if kind is None or all(type(item) is kind for item in value) else None
    if isinstance(default, float) and isinstance(value, int):
        return float(value)
    return value if type(value) is type(default) else None
