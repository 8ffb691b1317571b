"""detectron2's checkpoints as tensors, with nothing in them executed.

Three formats: `.pkl` (detectron2's model zoo, and Detectron's: a pickle of numpy arrays, read by `safe_pickle`), `.pth`
and `.pt` (torch's own, read with `weights_only`, memory-mapped) and `.safetensors` (memory-mapped). Weights of float16,
bfloat16 and float64 are accepted and become float32 in the module.
"""

import io
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from roastery.address import masked
from roastery.caffe2_names import from_caffe2, is_caffe2, is_of_a_detector
from roastery.digest import file_sha256
from roastery.errors import CheckpointError
from roastery.loose_names import LooselyNamed, aligned
from roastery.pickled_array import PickleDamagedError, PickleRefusedError
from roastery.regular_file import require_regular
from roastery.safe_pickle import check_torch_pickles, read_pickle
from roastery.weights.address import SUFFIXES

_NAMED = 5
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# What torch's reader raises when it stumbles over a damaged file.
_TORCH_ERRORS = (
    *(RuntimeError, ValueError, EOFError, LookupError, AttributeError, TypeError, AssertionError),
    *(ArithmeticError, struct.error),
)
# What zipfile raises for a damaged directory or member.
_ZIP_ERRORS = (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, struct.error)
# What detectron2 writes, or once wrote, beside the weights: the config says them, or training alone needs them.
NOT_WEIGHTS = re.compile(r"pixel_mean|pixel_std|.*anchor_generator\.cell_anchors\.\d+|.*\.num_batches_tracked")


def load_checkpoint(path: Path | str, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU, in the file's own dtypes.

    Args:
        path: a `.pkl`, `.pth`, `.pt` or `.safetensors` file. Tensors of the last three may map the file: use them
            (`load_into`) before the file is changed.
        sha256: the digest that the file must have; checked before anything in it is read.

    Returns:
        The state dict, whether it stands alone or under "model" or "state_dict"; the "module." of DataParallel is off.
        Detectron's blobs have detectron2's names. Where the checkpoint does not name them as a whole model does
        (Detectron's, or `matching_heuristics`), a LooselyNamed, which `load_into` aligns.

    Raises:
        CheckpointError: the file is missing, truncated, of another digest or format, or asks for code to be run.
    """
    text = str(path)
    if re.match(r"[A-Za-z][\w+.-]+:/", text):
        raise CheckpointError(f"{masked(text)}: is an address, not a path; fetch it first (roastery.weights.fetch)")
    if not text:
        raise CheckpointError("MODEL.WEIGHTS: is empty; give the path of a checkpoint (MODEL.WEIGHTS path)")
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise CheckpointError(f"{path}: is not a checkpoint by its name; use one of {', '.join(SUFFIXES)}")
    try:
        require_regular(path)
        if sha256 is not None and (found := file_sha256(path)) != sha256.lower():
            raise CheckpointError(
                f"{path}: has the sha256 {found}, not {sha256}; it is another file or a damaged one: fetch it again, "
                "or correct the digest"
            )
        with path.open("rb") as file:
            is_zip = file.read(4) == b"PK\x03\x04"
        if path.suffix == ".safetensors":
            content: Any = _read_safetensors(path)
        elif path.suffix == ".pkl" and not is_zip:
            content = _read_pickle(path)
        else:
            content = _read_torch(path, is_zip)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); give the path of a checkpoint") from None
    return _state_dict(content, path)


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], source: Path | str) -> None:
    """Copies the tensors into the module's parameters and buffers, as float32 where these are.

    The module's own state dict says what is needed. Anchors, pixel mean and deviation, and batch counters, which
    detectron2 keeps beside the weights, are neither needed nor surplus.

    Args:
        source: where the tensors come from, for the error.

    Raises:
        CheckpointError: names the tensors that are missing, surplus, of another shape or type, or not finite; the
            module is unchanged then, unless a value was not finite.
    """
    if isinstance(tensors, LooselyNamed):
        try:
            tensors = aligned(tensors, module.state_dict())
        except ValueError as error:
            raise CheckpointError(f"{source}: does not fit the config: {error}; save the model's state dict") from None
    wanted = {name: value for name, value in module.state_dict().items() if not NOT_WEIGHTS.fullmatch(name)}
    given = {name: value for name, value in tensors.items() if not NOT_WEIGHTS.fullmatch(name)}
    shared = [name for name in wanted if name in given]
    problems = {
        "missing": [f"{name} {_shape(wanted[name])}" for name in wanted if name not in given],
        "surplus": [f"{name} {_shape(given[name])}" for name in given if name not in wanted],
        "of another shape": [
            f"{name} {_shape(given[name])} instead of {_shape(wanted[name])}"
            for name in shared
            if given[name].shape != wanted[name].shape
        ],
        "of another type": [
            f"{name} {_dtype(given[name])} instead of {_dtype(wanted[name])}"
            for name in shared
            if not _fits(given[name].dtype, wanted[name].dtype)
        ],
    }
    if any(problems.values()):
        raise CheckpointError(_misfit(source, problems, shared))
    not_finite = []
    with torch.no_grad():
        for name in shared:
            wanted[name].copy_(given[name])
            if not torch.isfinite(wanted[name]).all():
                not_finite.append(name)
    require_finite(not_finite, source)


def require_finite(broken: list[str], source: Path | str) -> None:
    """Raise CheckpointError where there are names of tensors that hold NaN or infinities."""
    if broken:
        raise CheckpointError(
            f"{source}: NaN or infinite values in {some_of(broken)}; the training went wrong or the file is damaged: "
            "use an earlier checkpoint"
        )


def _read_pickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return read_pickle(file, path.stat().st_size)
    except PickleDamagedError as refusal:
        raise CheckpointError(f"{path}: {refusal}; fetch it again") from None
    except PickleRefusedError as refusal:
        raise CheckpointError(
            f"{path}: {refusal}; use a checkpoint of numpy arrays as detectron2's model zoo has them, "
            "or save the weights as .safetensors"
        ) from None


def _read_torch(path: Path, is_zip: bool) -> Any:
    try:
        if is_zip:
            _check_archive(path)
        else:
            # Magic number, protocol, what machine wrote it, the checkpoint, the names of its storages.
            with path.open("rb") as file:
                check_torch_pickles(file, path.stat().st_size, count=5)
    except PickleDamagedError as refusal:
        raise CheckpointError(f"{path}: is not a whole torch checkpoint ({refusal}); fetch it again") from None
    except PickleRefusedError as refusal:
        raise CheckpointError(
            f"{path}: {refusal}; save the weights alone, torch.save({{'model': model.state_dict()}}, path)"
        ) from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        named = re.search(r"(?:GLOBAL|global|class|function) ([\w.]+\.[\w.]+)", str(error))
        what = f"names {named[1]}, which is not data" if named else "is damaged or holds what is not data"
        raise CheckpointError(
            f"{path}: {what}; it was not run: save the weights alone, torch.save({{'model': model.state_dict()}}, path)"
        ) from None
    except _TORCH_ERRORS as error:
        raise CheckpointError(
            f"{path}: is not a whole torch checkpoint, truncated or of another kind ({_first_line(error)}); "
            "fetch it again, or save it with torch.save"
        ) from None


def _check_archive(path: Path) -> None:
    """Refuses a zip archive that is cut off, whose members grow when they are read, or whose pickle is no checkpoint's.

    Raises:
        CheckpointError, PickleRefusedError.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickled = archive.read(_find_pickle(archive.infolist(), path))
    except _ZIP_ERRORS:
        raise CheckpointError(
            f"{path}: is not a whole torch checkpoint, truncated or damaged; fetch it again"
        ) from None
    check_torch_pickles(io.BytesIO(pickled), len(pickled))


def _find_pickle(members: Sequence[zipfile.ZipInfo], path: Path) -> zipfile.ZipInfo:
    """The one member that is a pickle; refuses members that no checkpoint has."""
    names = [member.filename for member in members]
    if any("/code/" in name or name.endswith("constants.pkl") for name in names):
        raise CheckpointError(
            f"{path}: is a TorchScript program, not a checkpoint; save the weights, "
            "torch.save({'model': model.state_dict()}, path)"
        )
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise CheckpointError(f"{path}: is a compressed archive; save it with torch.save, which does not compress")
    pickles = [member for member in members if member.filename.endswith("data.pkl")]
    if len(pickles) != 1 or len(set(names)) < len(names):
        raise CheckpointError(f"{path}: is not a whole torch checkpoint: it has not one data.pkl; fetch it again")
    return pickles[0]


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path, device="cpu")
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path}: is not a whole safetensors file, truncated or damaged ({_first_line(error)}); fetch it again"
        ) from None


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not tensors by name; save a state dict")
    loose = content.get("matching_heuristics") is True
    caffe2 = loose and content.get("__author__") == "Caffe2"
    for key in ("blobs", "model", "state_dict"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
            caffe2 = caffe2 or key == "blobs"
            break
    if caffe2 or (path.suffix == ".pkl" and is_caffe2(content)):
        blobs = {name: blob for name, blob in content.items() if not isinstance(name, str) or is_of_a_detector(name)}
        try:
            return LooselyNamed(from_caffe2(_tensors(blobs, path)))
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}; it is damaged: fetch it again") from None
    tensors = _tensors(content, path)
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return LooselyNamed(tensors) if loose else tensors


def _tensors(content: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, value in content.items():
        if not isinstance(name, str):
            raise CheckpointError(f"{path}: holds a {type(name).__name__} as a tensor's name; save a state dict")
        tensors[name] = _tensor(value, name, path)
    if not tensors:
        raise CheckpointError(f"{path}: holds no tensors; give the checkpoint of a trained model")
    return tensors


def _tensor(value: Any, name: str, path: Path) -> Tensor:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise CheckpointError(
                f"{path}: {_printable(name)} is a sparse, quantized or empty tensor; save plain tensors"
            )
        return value.detach()
    raise CheckpointError(
        f"{path}: {_printable(name)} is a {type(value).__name__}, not a tensor; save the weights under 'model', "
        "{'model': model.state_dict()}"
    )


def _fits(given: torch.dtype, wanted: torch.dtype) -> bool:
    return given in _FLOATS if wanted in _FLOATS else given == wanted


def _misfit(source: Path | str, problems: Mapping[str, list[str]], shared: Sequence[str]) -> str:
    found = "; ".join(f"{len(names)} {problem}: {some_of(names)}" for problem, names in problems.items() if names)
    way_out = "use the checkpoint that was trained with this config, or the config it was trained with"
    if not shared:
        way_out = "it has no tensor of this model: give a trained detector's checkpoint, not a backbone's"
    elif all(name.startswith("backbone.") for name in shared):
        way_out = "it has nothing but a backbone: give a trained detector's checkpoint, not a backbone's"
    return f"{source}: does not fit the config: {found}; {way_out}"


def some_of(names: list[str]) -> str:
    """A few names out of a file in one short line, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(_printable(name) for name in names[:_NAMED]) + more


def _printable(name: str) -> str:
    """A name out of a file in one short line, whatever is in it."""
    name = name if name.isprintable() else repr(name)
    return name if len(name) <= 120 else f"{name[:117]}..."


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return repr(lines[0][:160]) if lines else type(error).__name__
