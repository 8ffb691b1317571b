"""What is checked of a model.pt2 before PyTorch reads it.

A saved program can carry pickles, shared libraries, sources of guards and expressions that PyTorch evaluates. Ours
carry none of the first three, and of the last only sums and products of sizes: all else is refused, unread.
"""

import ast
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from roastery.errors import ModelFileError

_ENTRIES = re.compile(
    r"""[^/]+/(
        data/weights/(weight_\d+ | model_weights_config\.json)
      | data/constants/(tensor_\d+ | model_constants_config\.json)
      | data/sample_inputs/model\.pt
      | models/model\.json
      | extra/roastery_interface\.json
      | archive_format | archive_version | byteorder | version | \.data/(version | serialization_id)
    )""",
    re.VERBOSE,
)
_TARGETS = re.compile(
    r"torch\.ops\.(aten|roastery)\.\w+\.\w+|torch\.sym_\w+"
    r"|_operator\.(getitem|ge|gt|le|lt|eq|ne|add|sub|mul|neg|floordiv|mod|and_|or_|pow)"
)
_FUNCTIONS = (
    *("Add", "FloorDiv", "Integer", "Max", "Min", "Mod", "Mul", "Pow", "PythonMod", "Rational"),
    *("And", "Equality", "GreaterThan", "LessThan", "Not", "Or", "StrictGreaterThan", "StrictLessThan", "Unequality"),
)
_SYMBOL = re.compile(r"[a-z]+\d+")


def refuse_what_executes(path: Path) -> None:
    """Refuse a program file that holds anything but tensors, a graph of known operators and arithmetic on sizes.

    Raises:
        ModelFileError: what was found, in one line.
        zipfile.BadZipFile, KeyError, ValueError: not a saved program at all.
    """
    texts = _read_texts(path)
    for name in ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json"):
        for tensor, meta in texts[name]["config"].items():
            if meta["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", meta["path_name"]):
                raise _refusal(path, f"tensor {tensor!r} is pickled")
    graph = texts["models/model.json"]
    if graph.get("guards_code"):
        raise _refusal(path, "it holds sources of guards")
    for key, value in _strings(graph):
        if key == "target" and not _TARGETS.fullmatch(value):
            raise _refusal(path, f"it calls {value!r}")
        if key == "expr_str" and not _is_arithmetic(value):
            raise _refusal(path, f"it holds the expression {value!r}")
    for symbol in graph.get("range_constraints", {}):
        if not _SYMBOL.fullmatch(symbol):
            raise _refusal(path, f"it bounds {symbol!r}, which is no symbol")


def _read_texts(path: Path) -> dict[str, Any]:
    """The JSON files of the archive by name, once every entry has proved to be one that is known."""
    texts: dict[str, Any] = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if not _ENTRIES.fullmatch(entry.filename) or entry.compress_type != zipfile.ZIP_STORED:
                raise _refusal(path, f"it holds {entry.filename!r}")
            name = entry.filename.partition("/")[2]
            if name == "data/sample_inputs/model.pt" and entry.file_size:
                raise _refusal(path, "it holds pickled sample inputs")
            if name.endswith(".json"):
                texts[name] = json.loads(archive.read(entry))
    return texts


def _refusal(path: Path, what: str) -> ModelFileError:
    return ModelFileError(f"{path}: not a program that Roastery traced: {what[:200]}; trace the model again")


def _strings(value: Any) -> Iterator[tuple[str, str]]:
    """Every key with a string, at any depth."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from ((key, item) for key, item in value.items() if isinstance(item, str))
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _is_arithmetic(expression: str) -> bool:
    """Whether it is calls of known functions on whole numbers and symbols, as `sympy.srepr` writes them."""
    try:
        return _allowed(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _allowed(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=int()):
            return True
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _allowed(operand)
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str(name))], keywords=keywords):
            return bool(_SYMBOL.fullmatch(name)) and all(
                isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, bool)
                for keyword in keywords
            )
        case ast.Call(func=ast.Name(id=function), args=arguments, keywords=[]):
            return function in _FUNCTIONS and all(_allowed(argument) for argument in arguments)
        case _:
            return False
