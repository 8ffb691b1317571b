"""Caffe2Runtime: runs a NetDef in genuine Caffe2, in a worker process of an interpreter of its own."""

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import roastery.peer_child
from roastery.caffe2 import array_frames
from roastery.caffe2.devices import on_cpu
from roastery.caffe2.nets import INIT_FILE, PREDICT_FILE, Nets
from roastery.errors import Caffe2Unavailable, ModelFileError, RuntimeFailed, UnsupportedOperator
from roastery.peer import Peer

PYTHON_VARIABLE = "CAFFE2_PYTHON"
_WORKER = Path(__file__).with_name("caffe2_worker.py")
_INSTALLED = Path(".caffe2/bin/python")
_HAS_CAFFE2 = "import importlib.util, sys; sys.exit(importlib.util.find_spec('caffe2') is None)"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_NAME = "the Caffe2 worker"


class Caffe2Runtime:
    """Runs a converted model in genuine Caffe2, on the CPU, a CUDA net too.

    The worker starts with the first run. When it dies, hangs or fails, that run raises, nothing of its outputs is used,
    and the next run starts another worker. Runs from several threads wait for each other.
    """

    def __init__(
        self, nets: Nets, python: Path | None = None, timeout: float = 600.0, threads: int | None = None
    ) -> None:
        """Say what to run and where.

        Args:
            python: the interpreter that has Caffe2 (default: `find_caffe2_python()`).
            timeout: seconds for one run, and for loading the net.
            threads: of the worker's OpenMP and MKL (default: what the environment says, else one a core).

        Raises:
            Caffe2Unavailable: there is no such interpreter.
        """
        self._nets = nets = Nets(on_cpu(nets.predict_net), nets.init_net)
        self._timeout = timeout
        self._peer = Peer(
            [
                str(python or find_caffe2_python()),
                # Isolated: neither this process's PYTHON* variables nor the script's folder, where our own `caffe2` is.
                "-I",
                "-u",
                str(_WORKER),
                roastery.peer_child.__file__,
                array_frames.__file__,
            ],
            _thread_settings(threads),
            _NAME,
        )
        self._loaded: int | None = None
        self._lock = threading.Lock()
        self._blobs = _blobs(nets)
        self._needed = _needed(nets)

    def run(self, inputs: Mapping[str, NDArray[Any]], fetch: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Run the net.

        Args:
            inputs: arrays by blob name, of the types and shapes that the net takes.
            fetch: the blobs to return, intermediate ones too (default: the net's outputs).

        Returns:
            Arrays of their own by blob name.

        Raises:
            ModelFileError: a blob to fetch that the net does not have; an input that is missing.
            UnsupportedOperator: operators that Caffe2 does not have.
            RuntimeFailed: the worker died, hung, or Caffe2 failed; its last words are in the message.
        """
        names = list(self._nets.predict_net.external_output if fetch is None else fetch)
        for name in names:
            if name not in self._blobs:
                raise ModelFileError(f"{PREDICT_FILE} has no blob {name!r}")
        missing = sorted(self._needed - inputs.keys())
        if missing:
            blobs = ", ".join(repr(name) for name in missing)
            raise ModelFileError(f"the net needs blob {blobs}, which neither {INIT_FILE} fills nor the caller gave")
        request = _pack({"do": "run", "fetch": names}, inputs)
        with self._lock:
            if self._loaded is None or self._loaded != self._peer.pid or not self._peer.alive:
                self._load()
            header, arrays = self._ask(request)
            if header.get("unloaded"):
                # It died between the look and the call, and the call started another.
                self._load()
                header, arrays = self._ask(request)
            if set(arrays) != set(names):
                self._peer.kill()
                raise RuntimeFailed(f"{_NAME} gave blobs {sorted(arrays)} where {sorted(names)} were asked for")
        return {name: np.array(arrays[name]) for name in names}

    def close(self) -> None:
        """End the worker."""
        self._peer.close()

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id, while there is a worker."""
        return self._peer.pid

    def __enter__(self) -> "Caffe2Runtime":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _load(self) -> None:
        self._loaded = None
        # A worker that has a net, or half of one, is of no use for loading another.
        if self._peer.alive:
            self._peer.close()
        messages = {"predict": self._nets.predict_net, "init": self._nets.init_net}
        arrays = {name: np.frombuffer(net.SerializeToString(), np.uint8) for name, net in messages.items()}
        header, _ = self._ask(_pack({"do": "load"}, arrays))
        if header.get("unknown"):
            self._peer.close()
            raise UnsupportedOperator(f"genuine Caffe2 does not have {', '.join(map(repr, header['unknown'][:20]))}")
        self._loaded = self._peer.pid

    def _ask(self, request: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
        reply = self._peer.call(request, self._timeout)
        try:
            header, arrays = array_frames.unpack(reply)
        except ValueError as error:
            self._peer.close()
            raise RuntimeFailed(f"{_NAME} answered with what is not arrays: {error}") from error
        if "error" in header:
            # What a failed operator left in the workspace must not be seen by the next run.
            self._peer.close()
            raise RuntimeFailed(f"genuine Caffe2 failed: {header['error']}")
        return header, arrays


def find_caffe2_python() -> Path:
    """The interpreter that has Caffe2: CAFFE2_PYTHON if Caffe2 is in it, else the one that `make caffe2` made.

    Raises:
        Caffe2Unavailable: there is none.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    if named and not os.access(named, os.X_OK):
        raise Caffe2Unavailable(f"{PYTHON_VARIABLE} is {named!r}, which is no program; correct it or run `make caffe2`")
    # It may name what `make caffe2` was to build from, and have no Caffe2 itself.
    if named and subprocess.run([named, "-I", "-c", _HAS_CAFFE2], check=False, capture_output=True).returncode == 0:
        return Path(named)
    for folder in (Path.cwd(), Path(__file__).parents[2]):
        python = folder / _INSTALLED
        if python.exists():
            return python
    raise Caffe2Unavailable(
        f"no interpreter with Caffe2 ({_INSTALLED}) here or in the project; run `make caffe2`, name one in "
        f"{PYTHON_VARIABLE}, or use the runtime torch"
    )


def _pack(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    try:
        return array_frames.pack(header, arrays)
    except ValueError as error:
        raise RuntimeFailed(f"input {error}") from error


def _thread_settings(threads: int | None) -> dict[str, str]:
    if threads is not None:
        return dict.fromkeys(_THREAD_VARIABLES, str(threads))
    set_already = next((os.environ[name] for name in _THREAD_VARIABLES if name in os.environ), None)
    count = set_already or str(len(os.sched_getaffinity(0)))
    return {name: os.environ.get(name, count) for name in _THREAD_VARIABLES}


def _blobs(nets: Nets) -> set[str]:
    """Every blob that is there after a run."""
    written = {blob for net in (nets.predict_net, nets.init_net) for operator in net.op for blob in operator.output}
    return written | set(nets.predict_net.external_input)


def _needed(nets: Nets) -> set[str]:
    """The external inputs that an operator reads and the init net does not fill."""
    read = {blob for operator in nets.predict_net.op for blob in operator.input}
    filled = {blob for operator in nets.init_net.op for blob in operator.output}
    return read & set(nets.predict_net.external_input) - filled
