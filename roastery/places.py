"""Where an operator comes from: the module, and the line of a user's own source that called it.

A place is told by a file's name, a line's number and its text, and by no folder: `heads.py:31: y = torch.erf(x)`. Of
Roastery's own sources and PyTorch's none is kept, so that the files of a native model do not change with them.
"""

import re
from pathlib import Path

import torch

_LONGEST_LINE = 120
_FRAME = re.compile(r'\s*File "(?P<file>.+)", line (?P<number>\d+), in ')
_PLACE = re.compile(rf"[^/\\]{{1,255}}:\d{{1,9}}: .{{0,{_LONGEST_LINE}}}")
_NOT_THE_USERS = (Path(torch.__file__).parent, Path(__file__).parent)


def called_from(stack_trace: str) -> str:
    """The innermost line of a user's source in a node's stack trace; "" where there is none.

    Args:
        stack_trace: as torch.export writes it: for each frame, outermost first, a line `File "...", line N, in ...`
            and the line of its source.
    """
    lines = stack_trace.splitlines()
    for index in reversed(range(len(lines))):
        frame = _FRAME.match(lines[index])
        if frame is None or any(Path(frame["file"]).is_relative_to(folder) for folder in _NOT_THE_USERS):
            continue
        following = lines[index + 1] if index + 1 < len(lines) else ""
        return place_of(frame["file"], int(frame["number"]), "" if _FRAME.match(following) else following)
    return ""


def place_of(file: str, number: int, source: str) -> str:
    """A place, of a file's path, the number of a line and its text; what a terminal would obey is shown as a sign."""
    text = f"{Path(file).name}:{number}: {source.strip()[:_LONGEST_LINE]}"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def known_place(found: object) -> str:
    """A place that a file tells; "" for what is none, because model files are hostile."""
    return found if isinstance(found, str) and found.isprintable() and _PLACE.fullmatch(found) else ""


def named(module: str, place: str) -> str:
    """How an error begins: the dotted name of a module ("" is the detector itself), and the place where it is known."""
    return f"module {module or '(top)'!r}" + (f" ({place})" if place else "")


def named_node(node: torch.fx.Node) -> str:
    """How an error about a node of a traced program begins: see `named`."""
    scopes = [scope for scope, _ in node.meta.get("nn_module_stack", {}).values()]
    return named(scopes[-1] if scopes else "", known_place(node.meta.get("stack_trace")))
