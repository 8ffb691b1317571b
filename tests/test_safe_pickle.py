"""Pickles: every protocol and layout of numpy arrays is read, and nothing that a pickle names is ever called."""

import os
import pickle
import struct
import subprocess
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from roastery.checkpoint import load_checkpoint
from roastery.errors import CheckpointError


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert found[name].shape == value.shape, name
        assert torch.equal(found[name], value), name


# What is read


@pytest.mark.parametrize("protocol", range(6))
def test_each_pickle_protocol_gives_the_tensors(tmp_path: Path, some_tensors: dict[str, Tensor], protocol: int) -> None:
    path = tmp_path / "model.pkl"
    state = OrderedDict((name, value.numpy()) for name, value in some_tensors.items())
    path.write_bytes(pickle.dumps({"model": state, "__author__": "tests"}, protocol=protocol))
    assert_same(load_checkpoint(path), some_tensors)


def test_a_pickle_of_an_older_numpy_gives_the_tensors(tmp_path: Path) -> None:
    content = pickle.dumps({"w": np.arange(6, dtype=np.float32).reshape(2, 3)}, protocol=2)
    assert content.count(b"numpy._core.") == 1
    path = tmp_path / "model.pkl"
    path.write_bytes(content.replace(b"numpy._core.", b"numpy.core."))
    assert_same(load_checkpoint(path), {"w": torch.arange(6.0).reshape(2, 3)})


def test_a_pickle_of_python_2_gives_the_tensors(tmp_path: Path) -> None:
    # What Python 2's numpy wrote: names, dtype and values as byte strings (SHORT_BINSTRING), no marks of text.
    values = struct.pack("<2f", 1.5, -2.0)
    content = b"\x80\x02}q\x00U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    content += (
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    content += b"\x89U\x08" + values + b"tbs."
    assert "w" in pickle.loads(content, encoding="latin1")
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    assert_same(load_checkpoint(path), {"w": torch.tensor([1.5, -2.0])})


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", "<i4", "<i8", "|u1", "|i1", "|b1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_plain_dtypes_and_orders_come_through_a_pickle(tmp_path: Path, dtype: str, order: str) -> None:
    values = np.asarray(np.arange(60).reshape(3, 4, 5) % 2, dtype=dtype, order=order)
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"w": values, "scalar": np.asarray(1, dtype)[()]}))
    found = load_checkpoint(path)
    native = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("="))
    assert_same(found, {"w": torch.from_numpy(native), "scalar": torch.from_numpy(np.array(1, native.dtype))})


@given(
    shapes=st.lists(st.lists(st.integers(0, 5), max_size=4).map(tuple), min_size=1, max_size=4),
    protocol=st.integers(0, 5),
    large=st.booleans(),
)
def test_any_state_comes_through_a_pickle(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, ...]], protocol: int, large: bool
) -> None:
    generator = np.random.default_rng(0)
    arrays = {f"t{n}": generator.normal(size=shape).astype(np.float32) for n, shape in enumerate(shapes)}
    if large:
        arrays["large"] = generator.normal(size=(33, 65)).astype(np.float32)
    path = tmp_path_factory.mktemp("pickle") / "model.pkl"
    path.write_bytes(pickle.dumps({"model": arrays}, protocol=protocol))
    assert_same(load_checkpoint(path), {name: torch.from_numpy(value) for name, value in arrays.items()})


# What is refused


class Runs:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def attacks(marker: str) -> dict[str, Any]:
    return {
        "os.system": Runs(os.system, f"touch {marker}"),
        "eval": Runs(eval, f"open({marker!r}, 'w')"),
        "exec": Runs(exec, f"open({marker!r}, 'w')"),
        "import": Runs(__import__, "os"),
        "open": Runs(open, marker, "w"),
        "subprocess": Runs(subprocess.check_call, ["touch", marker]),
        "numpy load": Runs(np.load, marker),
        "numpy save": Runs(np.save, marker, np.zeros(1)),
        "numpy fromfile": Runs(np.fromfile, marker),
        "numpy tofile": Runs(np.memmap, marker, "float32", "w+", 0, (4,)),
        "torch load": Runs(torch.load, marker),
        "path": Runs(Path.touch, Path(marker)),
        "marshal": Runs(__import__("marshal").loads, b"N"),
        "class": Runs,
    }


@pytest.mark.parametrize("where", ["value", "beside", "key", "argument"])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", sorted(attacks("")))
def test_a_pickle_that_would_run_code_is_refused_and_not_run(
    tmp_path: Path, name: str, protocol: int, where: str
) -> None:
    marker = tmp_path / "ran"
    attack = attacks(str(marker))[name]
    content: Any = {
        "value": {"model": {"w": attack}},
        "beside": {"model": {"w": np.zeros(2, np.float32)}, "extra": [(attack,)]},
        "key": {"model": {attack: np.zeros(2, np.float32)}},
        "argument": {"model": OrderedDict([("w", [attack])])},
    }[where]
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    assert "which is not data; it was not run" in refusal(path)
    assert not list(tmp_path.glob("ran*"))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (b"cos\nsystem\n(S'touch {marker}'\ntR.", "'os.system', which is not data"),
        (b"(S'touch {marker}'\nios\nsystem\n.", "uses the instruction INST"),
        (b"(cos\nsystem\nS'touch {marker}'\no.", "'os.system', which is not data"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "uses the instruction NEWOBJ"),
        (b"\x80\x04\x8c\x08builtins\x8c\x10getattr.__self__\x93.", "which is not data"),
        (b"\x80\x02\x82\x01.", "uses the instruction EXT1"),
        (b"\x80\x02Pstorage\n.", "uses the instruction PERSID"),
        (b"\x80\x02K\x01Q.", "uses the instruction BINPERSID"),
        (b"\x80\x05\x97.", "uses the instruction NEXT_BUFFER"),
        # A known name called with what it is not called with.
        (b"ccollections\nOrderedDict\nccollections\nOrderedDict\n\x85R.", "calls what is not allowed"),
        (b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.", "calls what is not allowed"),
        (b"c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R.", "calls what is not allowed"),
        (b"K\x01K\x02\x85R.", "calls what is not allowed"),
        # A state for what has none, and attributes by the back door.
        (b"]K\x01b.", "a container is missing"),
        (b"cnumpy\nndarray\n}b.", "a container is missing"),
    ],
)
def test_an_instruction_that_a_checkpoint_does_not_need_is_refused(tmp_path: Path, code: bytes, said: str) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / "model.pkl"
    path.write_bytes(code.replace(b"{marker}", str(marker).encode()))
    assert said in refusal(path)
    assert not marker.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["os.system", "eval", "subprocess", "numpy save", "class", "torch load", "open"])
def test_a_torch_file_that_would_run_code_is_refused_and_not_run(tmp_path: Path, name: str, zipped: bool) -> None:
    marker = tmp_path / "ran"
    state = {"model": {"w": torch.zeros(2)}, "extra": attacks(str(marker))[name]}
    torch.save(state, tmp_path / "model.pth", _use_new_zipfile_serialization=zipped)
    assert "it was not run" in refusal(tmp_path / "model.pth")
    assert not list(tmp_path.glob("ran*"))


def test_a_torch_storage_that_is_loaded_from_bytes_is_refused(tmp_path: Path) -> None:
    # The plain pickle of a tensor holds torch.save's bytes, which torch.storage reads without a check.
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": {"w": torch.zeros(2)}}))
    assert "'torch" in refusal(path)


def array_state(shape: Any, dtype: str = "f4", raw: bytes = b"\0" * 8, order: str = "<") -> bytes:
    """A pickle of one array whose parts are as given, true or not."""
    shape_code = b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", extent) for extent in shape) + b"t"
    code = b"\x80\x03}X\x01\x00\x00\x00wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    code += b"(K\x01" + shape_code + b"cnumpy\ndtype\nX" + struct.pack("<I", len(dtype)) + dtype.encode()
    code += b"\x89\x88\x87R(K\x03X\x01\x00\x00\x00" + order.encode() + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return code + b"\x89B" + struct.pack("<I", len(raw)) + raw + b"tbs."


def test_the_array_of_the_attacks_is_one_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(array_state((2,)))
    assert_same(load_checkpoint(path), {"w": torch.zeros(2)})


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (array_state((1 << 40,)), "needs 4398046511104 bytes and has 8"),
        (array_state((1 << 62, 4)), "bytes and has 8"),  # its size overflows 64 bits to 0
        (array_state((3,)), "needs 12 bytes and has 8"),
        (array_state((1,)), "needs 4 bytes and has 8"),
        (array_state((-1, -2)), "without a proper shape"),
        (array_state((1,) * 33), "without a proper shape"),
        (array_state((1,), "O8"), "dtype 'O8'; only plain numbers"),
        (array_state((1,), "V8"), "dtype 'V8'; only plain numbers"),
        (array_state((1,), "S8"), "dtype 'S8'; only plain numbers"),
        (array_state((1,), "c8"), "dtype 'c8'; only plain numbers"),
        (array_state((1,), "M8"), "dtype 'M8'; only plain numbers"),
        (array_state((2,), order="!"), "damaged dtype"),
    ],
)
def test_an_array_that_is_not_what_it_says_is_refused(tmp_path: Path, code: bytes, said: str) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(code)
    assert said in refusal(path)


@pytest.mark.parametrize("values", [np.array([None]), np.zeros(2, [("a", "f4")]), np.array(["a"])])
def test_arrays_of_anything_but_numbers_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"w": values}))
    assert "only plain numbers are read" in refusal(path)


def test_a_length_beyond_the_file_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    for code in (b"\x8e", b"\x96", b"\x8d"):
        path.write_bytes(b"\x80\x05" + code + struct.pack("<Q", 1 << 50) + b"x.")
        assert "is truncated" in refusal(path)


def test_containers_that_hold_themselves_are_refused(tmp_path: Path) -> None:
    cyclic: dict[str, Any] = {}
    cyclic["model"] = cyclic
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(cyclic))
    assert "model is a dict, not a tensor" in refusal(path)
    nested: list[Any] = []
    nested.append(nested)
    path.write_bytes(pickle.dumps({"model": {"w": nested}}))
    assert "w is a list, not a tensor" in refusal(path)


def test_nesting_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    # As a dict's key, a deep tuple would overflow the stack when it is hashed.
    path.write_bytes(b"\x80\x02}" + b")" + b"\x85" * 500_000 + b"K\x01s.")
    assert "keys are not names" in refusal(path)
    path.write_bytes(b"\x80\x02)" + b"\x85" * 500_000 + b".")
    assert "holds a tuple" in refusal(path)


def test_a_name_that_is_no_text_is_refused_and_never_written_out(tmp_path: Path) -> None:
    # Each list holds the one before it eight times; written out they would have 2 million.
    lists = b"".join(b"]q" + bytes([n]) + b"(" + bytes([0x68, n - 1]) * 8 + b"e" for n in range(1, 8))
    for module, name in ((b"]q\x00" + lists, b"\x8c\x01x"), (b"\x8c\x01x", b"]q\x00" + lists)):
        (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + module + name + b"\x93.")
        assert "a name is not text" in refusal(tmp_path / "a.pkl")


@pytest.mark.parametrize("code", [b"]", b"]" + b"\x85" * 3, b"}", b"K\x04", b")" + b"\x85" * 1_000_000])
def test_a_dtype_that_is_no_text_is_refused(tmp_path: Path, code: bytes) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x02cnumpy\ndtype\n" + code + b"\x85R.")
    assert "holds a damaged dtype" in refusal(path)


def test_keys_whose_hashes_are_the_same_are_refused(tmp_path: Path) -> None:
    # Python's hash of a whole number is its remainder by 2**61 - 1: a dict of 200 000 such keys takes minutes.
    keys = b"".join(b"\x8a\x0a" + (n * (2**61 - 1)).to_bytes(10, "little") + b"N" for n in range(200_000))
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x02}(" + keys + b"u.")
    assert "holds a dict whose keys are not names" in refusal(path)


def test_a_shape_of_endless_numbers_is_refused_before_they_are_multiplied(tmp_path: Path) -> None:
    number = b"\x8b" + (1_000_000).to_bytes(4, "little") + b"\x7f" * 1_000_000
    start = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    shape = b"(" + number + b"q\x00" + b"h\x00" * 31 + b"t"
    path = tmp_path / "model.pkl"
    path.write_bytes(start + b"(K\x01" + shape + b"cnumpy\ndtype\nX\x02\0\0\0f4\x85R\x89C\x04abcdtb.")
    assert "holds an array without a proper shape" in refusal(path)
