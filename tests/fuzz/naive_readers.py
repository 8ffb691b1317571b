"""Readers that do what none may: that the watch bites is tested on these."""

import ctypes
import os
import pickle
import socket  # noqa: F401  (it is the call that is to be found out, not the import)
import subprocess  # noqa: F401
import sys
import time
from pathlib import Path

import yaml

# Of the C library: no audit event tells of their calls.
_create, _truncate = ctypes.PyDLL(None).creat, ctypes.PyDLL(None).truncate


def unpickle(folder: Path, written: Path, told: list[str]) -> None:
    pickle.loads((folder / "input").read_bytes())


def load_unsafe_yaml(folder: Path, written: Path, told: list[str]) -> None:
    yaml.unsafe_load((folder / "input").read_text())


def compile_as_a_graph(folder: Path, written: Path, told: list[str]) -> None:
    """As torch.fx compiles a graph's code, with a call in it that no graph has."""
    exec(compile("def forward(self):\n    blob = self.Conv_0(open('ran', 'w'))", "<eval_with_key>.1", "exec"))


def evaluate(folder: Path, written: Path, told: list[str]) -> None:
    eval((folder / "input").read_text())


def overwrite_input(folder: Path, written: Path, told: list[str]) -> None:
    (folder / "input").write_text("changed")


def write_unseen(folder: Path, written: Path, told: list[str]) -> None:
    _create(b"ran", 0o600)


def empty_unseen(folder: Path, written: Path, told: list[str]) -> None:
    _truncate(str(folder.parent / "outside" / "secret").encode(), ctypes.c_long(0))


def fill_disk(folder: Path, written: Path, told: list[str]) -> None:
    with (written / "large").open("wb") as file:
        file.truncate(1 << 30)


def read_outside(folder: Path, written: Path, told: list[str]) -> None:
    (folder / "input").resolve().parent.parent.joinpath("outside", "secret").read_bytes()


def raise_key_error(folder: Path, written: Path, told: list[str]) -> None:
    raise KeyError("input")


def say_two_lines(folder: Path, written: Path, told: list[str]) -> None:
    _say("a\nb")


def say_without_end(folder: Path, written: Path, told: list[str]) -> None:
    _say("a" * 5000)


def _say(text: str) -> None:
    """As `UserError` itself never would: it mends what it is given."""
    from roastery.errors import UserError

    raise type("Unmended", (UserError,), {"__str__": lambda self: text})("")


def draw_as_told(folder: Path, written: Path, told: list[str]) -> None:
    from readers import check_drawing

    (written / "model.svg").write_bytes((folder / "input").read_bytes())
    check_drawing(written / "model.svg")


def recurse(folder: Path, written: Path, told: list[str]) -> None:
    recurse(folder, written, told)


def fill_memory(folder: Path, written: Path, told: list[str]) -> None:
    bytearray(2 << 30)


def compute_without_end(folder: Path, written: Path, told: list[str]) -> None:
    while True:
        pass


def wait_without_end(folder: Path, written: Path, told: list[str]) -> None:
    while True:
        time.sleep(60)


def crash(folder: Path, written: Path, told: list[str]) -> None:
    ctypes.string_at(0)


def leave(folder: Path, written: Path, told: list[str]) -> None:
    sys.exit(0)


def leave_at_once(folder: Path, written: Path, told: list[str]) -> None:
    os._exit(0)


NAIVE_READERS = {
    reader.__name__: reader
    for reader in (
        *(
            unpickle,
            load_unsafe_yaml,
            evaluate,
            compile_as_a_graph,
            overwrite_input,
            write_unseen,
            empty_unseen,
            fill_disk,
            read_outside,
        ),
        *(raise_key_error, say_two_lines, say_without_end, draw_as_told, recurse, fill_memory, compute_without_end),
        *(wait_without_end, crash, leave, leave_at_once),
    )
}
