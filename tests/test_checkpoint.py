"""Checkpoints: every format gives the same tensors, and a file can do nothing but give them."""

import hashlib
import os
import pickle
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from roastery.checkpoint import load_checkpoint
from roastery.errors import CheckpointError

SUFFIXES = ["pkl", "pth", "safetensors"]


def save(path: Path, state: dict[str, Tensor], **beside: Any) -> Path:
    if path.suffix == ".pkl":
        arrays = {name: value.numpy() for name, value in state.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "tests", **beside}))
    elif path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"model": state, **beside}, path)
    return path


def refusal(path: Path | str, sha256: str | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, sha256)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message or not str(path)
    return message


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert found[name].shape == value.shape, name
        assert torch.equal(found[name], value), name


# What is read


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_each_format_gives_the_tensors(tmp_path: Path, some_tensors: dict[str, Tensor], suffix: str) -> None:
    expected = some_tensors
    found = load_checkpoint(save(tmp_path / f"model.{suffix}", expected))
    assert_same(dict(sorted(found.items())), dict(sorted(expected.items())))


@pytest.mark.parametrize("suffix", ["pkl", "pth"])
def test_a_training_checkpoint_gives_only_its_model(
    tmp_path: Path, some_tensors: dict[str, Tensor], suffix: str
) -> None:
    beside = {"iteration": 9, "scheduler": {"base_lrs": [0.1], "last_epoch": 3}, "matching_heuristics": True}
    found = load_checkpoint(save(tmp_path / f"model.{suffix}", some_tensors, **beside))
    assert_same(found, some_tensors)


def test_a_flat_state_dict_and_one_of_data_parallel_are_read(tmp_path: Path, some_tensors: dict[str, Tensor]) -> None:
    torch.save(some_tensors, tmp_path / "flat.pt")
    assert_same(load_checkpoint(tmp_path / "flat.pt"), some_tensors)
    torch.save({"state_dict": {f"module.{name}": value for name, value in some_tensors.items()}}, tmp_path / "ddp.pth")
    assert_same(load_checkpoint(tmp_path / "ddp.pth"), some_tensors)


def test_torchs_older_format_is_read_and_parameters_are_plain_tensors(tmp_path: Path) -> None:
    state = {"w": nn.Parameter(torch.ones(2))}
    torch.save({"model": state}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    found = load_checkpoint(tmp_path / "old.pth")
    assert not found["w"].requires_grad
    assert_same(found, {"w": torch.ones(2)})


def test_a_torch_file_under_the_name_pkl_is_read_as_what_it_is(tmp_path: Path, some_tensors: dict[str, Tensor]) -> None:
    save(tmp_path / "model.pth", some_tensors).rename(tmp_path / "model.pkl")
    assert_same(load_checkpoint(tmp_path / "model.pkl"), some_tensors)


def test_detectron2s_own_checkpoints_are_read_bit_for_bit(demo_model: Path) -> None:
    path = demo_model / "model_final.pkl"
    expected = pickle.loads(path.read_bytes())["model"]  # made by us, not by a stranger
    found = load_checkpoint(path)
    assert_same(found, {name: torch.from_numpy(np.asarray(value)) for name, value in expected.items()})


def test_the_right_digest_is_taken_in_any_case(tmp_path: Path, some_tensors: dict[str, Tensor]) -> None:
    path = save(tmp_path / "model.pkl", some_tensors)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert_same(load_checkpoint(path, digest), some_tensors)
    assert_same(load_checkpoint(path, digest.upper()), some_tensors)


@pytest.mark.parametrize(("suffix", "most"), [("pkl", 1.3), ("pth", 0.3), ("safetensors", 0.3)])
def test_reading_holds_the_weights_at_most_once(tmp_path: Path, suffix: str, most: float) -> None:
    megabytes = 48
    state = {f"layer{number}": torch.ones(1 << 20) for number in range(megabytes // 4)}
    path = save(tmp_path / f"model.{suffix}", state)
    # In a process of its own, whose peak nobody else's memory hides; VmHWM counts from the reset of clear_refs.
    script = (
        "import sys; from roastery.checkpoint import load_checkpoint\n"
        "def status(key):\n"
        "    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith(key))\n"
        "open('/proc/self/clear_refs', 'w').write('5'); before = status('VmRSS')\n"
        "state = load_checkpoint(sys.argv[1]); print((status('VmHWM') - before) / 1024)"
    )
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("needs Linux's /proc/self/clear_refs to measure a peak")
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, cwd=root, check=True)
    assert float(done.stdout) < most * megabytes


# What is refused


def test_a_view_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save({"model": {"w": torch.zeros(33)}}, path)
    forged = tmp_path / "forged.pth"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(forged, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            if member.filename.endswith("data.pkl"):
                # The shape (33,) follows the offset 0 in _rebuild_tensor_v2's arguments.
                assert content.count(b"K\x00K!\x85") == 1
                content = content.replace(b"K\x00K!\x85", b"K\x00K\xff\x85")
            new.writestr(member.filename, content)
    assert "is not a whole torch checkpoint" in refusal(forged)


def test_a_compressed_archive_and_a_torchscript_program_are_refused(
    tmp_path: Path, some_tensors: dict[str, Tensor]
) -> None:
    path = save(tmp_path / "model.pth", some_tensors)
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    assert "compressed" in refusal(bomb)
    script = tmp_path / "script.pt"
    with zipfile.ZipFile(script, "w") as archive:
        archive.writestr("script/data.pkl", b"\x80\x02}.")
        archive.writestr("script/code/__torch__.py", "")
    assert "TorchScript" in refusal(script)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, some_tensors: dict[str, Tensor], suffix: str) -> None:
    content = save(tmp_path / f"model.{suffix}", some_tensors).read_bytes()
    path = tmp_path / f"cut.{suffix}"
    for kept in sorted({0, 1, 3, 4, 9, 64, 100, *range(200, len(content), 331), len(content) - 1}):
        path.write_bytes(content[:kept])
        refusal(path)


@pytest.mark.parametrize("name", ["pkl", "legacy.pth"])
def test_a_streamed_file_cut_off_says_so(tmp_path: Path, some_tensors: dict[str, Tensor], name: str) -> None:
    path = tmp_path / f"model.{name}"
    if name == "pkl":
        content = save(path, some_tensors).read_bytes()
    else:
        torch.save({"model": some_tensors}, path, _use_new_zipfile_serialization=False)
        content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "truncated" in refusal(path)


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    for suffix in SUFFIXES:
        path = folder / f"model.{suffix}"
        path.write_bytes(content)
        refusal(path)


@given(data=st.data(), suffix=st.sampled_from(["pkl", "pth", "safetensors"]))
def test_a_flipped_byte_gives_tensors_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, suffix: str
) -> None:
    path = save(tmp_path_factory.mktemp("flip") / f"model.{suffix}", {"w": torch.ones(3), "b.c": torch.zeros(2, 2)})
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    message = ""
    try:
        load_checkpoint(path)
    except CheckpointError as error:
        message = str(error)
    assert "\n" not in message


def test_the_wrong_digest_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    message = refusal(path, "0" * 64)
    assert hashlib.sha256(path.read_bytes()).hexdigest() in message
    assert "os.system" not in message


@pytest.mark.parametrize("state", [{}, {"model": {}}])
def test_a_checkpoint_without_tensors_is_refused(tmp_path: Path, state: dict[str, Any]) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(state))
    assert "no tensors" in refusal(path)


def test_what_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save(torch.zeros(2), tmp_path / "tensor.pth")
    assert "holds a Tensor, not tensors by name" in refusal(tmp_path / "tensor.pth")
    torch.save({"w": torch.zeros(2), "lr": 0.1}, tmp_path / "mixed.pth")
    assert "lr is a float, not a tensor" in refusal(tmp_path / "mixed.pth")
    torch.save({"w": torch.eye(2).to_sparse()}, tmp_path / "sparse.pth")
    assert "w is a sparse" in refusal(tmp_path / "sparse.pth")


@pytest.mark.parametrize(
    "weights",
    [
        "detectron2://COCO-Detection/faster_rcnn_R_50_FPN_3x/137849458/model_final_280758.pkl",
        "https://dl.fbaipublicfiles.com/model.pkl",
        "http://example.com/model.pth",
        "s3://bucket/model.pth",
        Path("detectron2://ImageNetPretrained/MSRA/R-50.pkl"),
    ],
)
def test_an_address_is_none_of_the_paths_that_are_read(weights: str | Path) -> None:
    assert "is an address, not a path" in refusal(weights)


def test_a_missing_file_a_folder_an_empty_path_and_another_suffix_are_refused(tmp_path: Path) -> None:
    assert "No such file or directory" in refusal(tmp_path / "none.pkl")
    (tmp_path / "folder.pth").mkdir()
    assert "Is a directory" in refusal(tmp_path / "folder.pth")
    assert "MODEL.WEIGHTS: is empty" in refusal("")
    assert "use one of .pkl, .pth, .pt, .safetensors" in refusal(tmp_path / "model.onnx")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("digest", [None, "0" * 64])
def test_a_pipe_and_a_device_are_refused_before_they_are_opened(
    tmp_path: Path, suffix: str, digest: str | None
) -> None:
    os.mkfifo(tmp_path / f"pipe.{suffix}")
    (tmp_path / f"zero.{suffix}").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        assert "Is a pipe, a socket or a device, not a file" in refusal(tmp_path / f"{name}.{suffix}", digest)


def with_pickle(path: Path, pickled: bytes, *more: str) -> Path:
    """An archive of torch's with another pickle in it, and further members."""
    torch.save({"model": {"w": torch.zeros(2)}}, path)
    with zipfile.ZipFile(path) as old:
        members = {member.filename: old.read(member) for member in old.infolist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, pickled if name.endswith("data.pkl") else content)
        for name in more:
            new.writestr(name, pickled)
    return path


def older(path: Path, pickled: bytes) -> Path:
    """A file of torch's older format with another pickle in it. Source: torch/serialization.py, `_legacy_save`."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + pickled + pickle.dumps([], 2))
    return path


# Pickles that torch's own reader takes, with weights_only: it crashes, takes minutes, and fills 4 GB.
TORCH_BOMBS = {
    "a tuple in a tuple in a tuple as a key": (b"\x80\x02})" + b"\x85" * 1_000_000 + b"Ns.", "keys are not names"),
    "keys whose hashes are the same": (
        b"\x80\x02}("
        + b"".join(b"\x8a\x0a" + (n * (2**61 - 1)).to_bytes(10, "little") + b"N" for n in range(200_000))
        + b"u.",
        "keys are not names",
    ),
    "a large bytearray": (b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\0\0\0\0\x01\x85R.", "names 'builtins.bytearray'"),
    "a counter of tuples": (
        b"\x80\x02ccollections\nCounter\n])" + b"\x85" * 1_000_000 + b"a\x85R.",
        "calls what is not allowed",
    ),
}


@pytest.mark.parametrize("bomb", TORCH_BOMBS)
@pytest.mark.parametrize("save_as", [with_pickle, older])
def test_a_small_torch_file_that_is_endless_when_read_is_refused(tmp_path: Path, bomb: str, save_as: Any) -> None:
    pickled, said = TORCH_BOMBS[bomb]
    started = time.monotonic()
    assert said in refusal(save_as(tmp_path / "model.pth", pickled))
    assert time.monotonic() - started < 30


def test_an_archive_with_two_pickles_is_refused(tmp_path: Path) -> None:
    pickled = pickle.dumps({}, 2)
    assert "has not one data.pkl" in refusal(with_pickle(tmp_path / "model.pth", pickled, "other/data.pkl"))


def test_a_training_checkpoint_of_torch_with_its_schedulers_is_read(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    beside = {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(), "size": torch.Size([1])}
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pth"
        torch.save({"model": module.state_dict(), **beside}, path, _use_new_zipfile_serialization=zipped)
        assert_same(load_checkpoint(path), dict(module.state_dict()))


def test_a_tensor_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {1: torch.zeros(2)}}, tmp_path / "model.pth")
    assert "holds a int as a tensor's name" in refusal(tmp_path / "model.pth")
