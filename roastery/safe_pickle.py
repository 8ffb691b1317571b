"""Reads numpy pickles as data: an interpreter of the pickle format that has nothing to call.

The standard unpickler looks names up and calls what it finds. This one knows a few names (numpy's array, dtype and
scalar, OrderedDict, latin-1 text) and builds their values itself from checked parts; every other name, and every
instruction that a checkpoint does not need, ends the reading. Source: Lib/pickletools.py, which decodes the
instructions, and numpy/core/src/multiarray/methods.c (`array_reduce`, `array_setstate`), for an array's parts.
"""

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, cast

from roastery.pickled_array import (
    PickleDamagedError,
    PickledArray,
    PickledDType,
    PickleRefusedError,
    array_from,
    latin1,
)

MAX_INSTRUCTIONS = 20_000_000
"""A checkpoint of 1000 tensors takes 30 000."""
_IN_PLACE_BYTES = 4096
_STATE_PARTS = 5
_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_BUFFER_MODULES = ("numpy.core.numeric", "numpy._core.numeric")


def read_pickle(file: BinaryIO, size: int) -> Any:
    """The value of the pickle in `file`, whose length is `size` bytes.

    Returns:
        Dicts with string or integer keys, lists, tuples, plain scalars and text, and numpy arrays. An array's memory is
        the bytes that were read, writable, and not copied unless it is small, Fortran-ordered or big-endian.

    Raises:
        PickleRefusedError: the pickle names something else, or holds an array of anything but numbers.
        PickleDamagedError: it is cut off, or makes no sense.
        OSError: the file cannot be read.
    """
    return _run(_Machine(_NAMES.get), _BoundedReader(file, size))


def check_torch_pickles(file: BinaryIO, size: int, count: int = 1) -> None:
    """Run through pickles that torch wrote, one behind the other, without making what they name.

    torch's own reader calls only what torch knows; but with whatever it is given, and takes anything as a key. What it
    calls must be tensors' parts, and keys must be names, as in a checkpoint they are.

    Args:
        count: how many of them are checked.

    Raises:
        PickleRefusedError, PickleDamagedError, OSError: as `read_pickle`.
    """
    reader = _BoundedReader(file, size)
    for _ in range(count):
        _run(_Machine(_torch_name), reader)


def _run(machine: "_Machine", reader: "_BoundedReader") -> Any:
    count = 0
    try:
        for opcode, argument, _ in pickletools.genops(cast(IO[bytes], reader)):
            count += 1
            if count > MAX_INSTRUCTIONS:
                raise PickleRefusedError(f"has more than {MAX_INSTRUCTIONS} instructions")
            if opcode.name == "STOP":
                return machine.pop()
            machine.run(opcode.name, argument)
    except PickleRefusedError:
        raise
    except (ValueError, IndexError, KeyError, OverflowError, UnicodeError, EOFError) as error:
        # What pickletools raises for bytes that are not an instruction or end in the middle of one.
        raise PickleDamagedError(f"is not a whole pickle: truncated or damaged ({type(error).__name__})") from None
    raise PickleDamagedError("is not a whole pickle: truncated or damaged")


class _BoundedReader:
    """A file that never reads past its end, and gives large pieces as bytearrays, so that an array can own them."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, count: int) -> bytes | bytearray:
        if count > self._left:
            # Asked before memory is taken: a damaged length can claim an exabyte.
            raise PickleDamagedError("is truncated: it ends in the middle of a value")
        self._left -= count
        if count < _IN_PLACE_BYTES:
            return self._file.read(count)
        piece = bytearray(count)
        view, done = memoryview(piece), 0
        while done < count:
            read = self._file.readinto(view[done:])  # type: ignore[attr-defined]
            if not read:
                raise PickleDamagedError("is truncated: it ends in the middle of a value")
            done += read
        return piece

    def readline(self) -> bytes:
        line = self._file.readline()
        self._left -= len(line)
        return line


@dataclass(frozen=True)
class _Name:
    """A global that the pickle names and that we know; a mark on the stack, never a thing that can be called."""

    kind: str


_NAMES = {
    **{(module, "_reconstruct"): _Name("array") for module in _ARRAY_MODULES},
    **{(module, "scalar"): _Name("scalar") for module in _ARRAY_MODULES},
    **{(module, "_frombuffer"): _Name("buffer") for module in _BUFFER_MODULES},
    ("numpy", "ndarray"): _Name("ndarray"),
    ("numpy", "dtype"): _Name("dtype"),
    ("collections", "OrderedDict"): _Name("ordered dict"),
    ("_codecs", "encode"): _Name("encode"),
    ("__builtin__", "bytes"): _Name("empty bytes"),
    ("builtins", "bytes"): _Name("empty bytes"),
}
_TORCH_NAMES = re.compile(
    r"torch\.(\w+|storage\.\w+|_utils\._rebuild_\w+|_tensor\._rebuild_from_type_v2|nn\.parameter\.Parameter"
    r"|serialization\._get_layout)"
)


def _torch_name(name: tuple[str, str]) -> _Name | None:
    if _TORCH_NAMES.fullmatch(".".join(name)):
        return _Name("torch")
    # Schedulers count their milestones.
    return _Name("counter") if name == ("collections", "Counter") else _NAMES.get(name)


@dataclass(frozen=True)
class _TorchValue:
    """What torch would make; a mark on the stack."""


class _Machine:
    """The stack, the marks and the memo; and how names are found."""

    def __init__(self, known: Callable[[tuple[str, str]], _Name | None]) -> None:
        self.known = known
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.weights_as_text: dict[int, int] = {}

    def run(self, name: str, argument: Any) -> None:
        if name in _PUSHES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise PickleRefusedError(f"uses the instruction {name}, which a checkpoint does not need; it was not run")

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise PickleDamagedError("is damaged: a value is missing")
        value = self.stack.pop()
        if isinstance(value, PickledArray):
            if value.values is None:
                raise PickleDamagedError("is damaged: an array without values")
            return value.values
        return value

    def pop_to_mark(self) -> list[Any]:
        if not self.marks:
            raise PickleDamagedError("is damaged: a mark is missing")
        start = self.marks[-1]
        values = [self.pop() for _ in range(len(self.stack) - start)]
        self.marks.pop()
        return values[::-1]

    def top(self, *kinds: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kinds):
            raise PickleDamagedError("is damaged: a container is missing")
        return self.stack[-1]

    def remember(self, index: int | None) -> None:
        value = self.top(object)
        index = len(self.memo) if index is None else index
        self.memo[index] = value
        # At most an array's state: a hostile tuple may be long, and be remembered a million times.
        parts = value if isinstance(value, tuple) and len(value) <= _STATE_PARTS else (value,)
        if any(isinstance(part, str) and len(part) > _IN_PLACE_BYTES for part in parts):
            self.weights_as_text[id(value)] = index

    def forget_text(self, *values: Any) -> None:
        """Let go of text that became an array: it is not asked for again, and is as large as the weights."""
        for value in values:
            self.memo.pop(self.weights_as_text.pop(id(value), -1), None)

    def set_items(self, pairs: list[Any]) -> None:
        target = self.top(dict)
        if len(pairs) % 2:
            raise PickleDamagedError("is damaged: a key has no value")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            # Whole numbers of this size have hashes that differ.
            if not isinstance(key, str) and not (isinstance(key, int) and 0 <= key < 1 << 31):
                raise PickleRefusedError("holds a dict whose keys are not names")
            target[key] = value

    def find(self, module: Any, name: Any) -> None:
        # Before it is said what they are: lists in lists may be too large to be written out.
        if not (isinstance(module, str) and isinstance(name, str)):
            raise PickleDamagedError("is damaged: a name is not text")
        known = self.known((module, name))
        if known is None:
            raise PickleRefusedError(f"names {f'{module}.{name}'[:120]!r}, which is not data; it was not run")
        self.stack.append(known)

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        kind = function.kind if isinstance(function, _Name) else None
        match kind, arguments:
            case "counter", () | (dict(),):
                self.stack.append({})
            case "torch", tuple():
                self.stack.append(_TorchValue())
            case "array", (_Name("ndarray"), *_):
                self.stack.append(PickledArray())
            case "dtype", (code, *_):
                self.stack.append(PickledDType(code))
            case "scalar", (dtype, raw):
                self.stack.append(array_from(raw, dtype, (), "C"))
            case "buffer", (raw, dtype, shape, order):
                self.stack.append(array_from(raw, dtype, shape, order))
            case "encode", (str() as text, "latin1" | "latin-1"):
                # Protocol 2 of Python 3 has no bytes.
                self.forget_text(text, arguments)
                self.stack.append(latin1(text))
            case "empty bytes", ():
                self.stack.append(b"")
            case "ordered dict", () | (list(),):
                self.stack.append({})
                for pair in arguments[0] if arguments else []:
                    self.set_items(list(pair) if isinstance(pair, list | tuple) else [pair])
            case _:
                raise PickleRefusedError("is damaged, or calls what is not allowed; it was not run")

    def build(self) -> None:
        state, target = self.pop(), self.top(PickledArray, PickledDType, dict, _TorchValue)
        # The state of an OrderedDict is what torch notes beside a state dict (`_metadata`); it is no weight.
        if not isinstance(target, dict | _TorchValue):
            target.set_state(state)
            if isinstance(target, PickledArray):
                # Python 2 has no bytes.
                self.forget_text(state, state[-1])

    def persistent(self) -> None:
        """A storage, which lies outside of the pickle."""
        if self.known is not _torch_name:
            raise PickleRefusedError("uses the instruction BINPERSID, which a checkpoint does not need; it was not run")
        self.pop()
        self.stack.append(_TorchValue())

    def tuple_of(self, count: int) -> None:
        self.stack.append(tuple([self.pop() for _ in range(count)][::-1]))


# Their argument is the value.
_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_PUSHES = frozenset((*_NUMBERS, *_TEXTS, *_BYTES))
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_to_mark()),
    "APPEND": lambda machine, _: _append(machine, [machine.pop()]),
    "APPENDS": lambda machine, _: _append(machine, machine.pop_to_mark()),
    "DICT": lambda machine, _: _dict(machine, machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "PUT": lambda machine, index: machine.remember(index),
    "BINPUT": lambda machine, index: machine.remember(index),
    "LONG_BINPUT": lambda machine, index: machine.remember(index),
    "MEMOIZE": lambda machine, _: machine.remember(None),
    "GET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "GLOBAL": lambda machine, names: machine.find(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.find(*[machine.pop(), machine.pop()][::-1]),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BINPERSID": lambda machine, _: machine.persistent(),
    "BUILD": lambda machine, _: machine.build(),
}


def _append(machine: _Machine, values: list[Any]) -> None:
    machine.top(list).extend(values)


def _dict(machine: _Machine, pairs: list[Any]) -> None:
    machine.stack.append({})
    machine.set_items(pairs)
