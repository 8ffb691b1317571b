"""Genuine Caffe2 in a process of its own: its life and its deaths. A stand-in interpreter serves where it is not."""

import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from roastery.caffe2.caffe2_runtime import Caffe2Runtime, find_caffe2_python
from roastery.caffe2.nets import Nets
from roastery.errors import Caffe2Unavailable, ModelFileError, RuntimeFailed, UnsupportedOperator

MakeNets = Callable[..., Nets]
X = np.array([[1, -2, 3]], np.float32)
PARAMETERS = {"p": np.array([[10, 20, 30]], np.float32)}
LINES = [("Relu", ["data"], ["r"], {}), ("Add", ["r", "p"], ["y"], {})]
Y = np.array([[11, 20, 33]], np.float32)


@pytest.fixture
def nets(make_nets: MakeNets) -> Nets:
    made: Nets = make_nets(LINES, parameters=PARAMETERS)
    return made


@pytest.fixture
def runtime(nets: Nets) -> Iterator[Caffe2Runtime]:
    with Caffe2Runtime(nets, timeout=60) as running:
        yield running


def worker_of(runtime: Caffe2Runtime) -> int:
    pid = runtime.worker_pid
    assert pid is not None
    return pid


@pytest.mark.caffe2
def test_a_net_runs_again_and_again_in_one_worker(runtime: Caffe2Runtime) -> None:
    np.testing.assert_array_equal(runtime.run({"data": X})["y"], Y)
    first = worker_of(runtime)
    np.testing.assert_array_equal(runtime.run({"data": -X})["y"], [[10, 22, 30]])
    assert worker_of(runtime) == first


@pytest.mark.caffe2
def test_intermediate_blobs_and_parameters_can_be_fetched(runtime: Caffe2Runtime) -> None:
    blobs = runtime.run({"data": X}, fetch=["r", "p"])
    assert list(blobs) == ["r", "p"]
    np.testing.assert_array_equal(blobs["r"], X.clip(0))
    np.testing.assert_array_equal(blobs["p"], PARAMETERS["p"])
    # They are the caller's own.
    blobs["p"][:] = 0
    np.testing.assert_array_equal(runtime.run({"data": X})["y"], Y)


@pytest.mark.caffe2
def test_a_worker_killed_between_runs_is_replaced(runtime: Caffe2Runtime) -> None:
    runtime.run({"data": X})
    first = worker_of(runtime)
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    np.testing.assert_array_equal(runtime.run({"data": X})["y"], Y)
    assert worker_of(runtime) != first


@pytest.mark.caffe2
def test_a_worker_killed_in_mid_run_fails_that_run_only(runtime: Caffe2Runtime) -> None:
    runtime.run({"data": X})
    first = worker_of(runtime)
    # Stopped, it is in mid-run for as long as it takes to kill it.
    os.kill(first, signal.SIGSTOP)
    killer = threading.Timer(0.3, os.kill, (first, signal.SIGKILL))
    killer.start()
    with pytest.raises(RuntimeFailed, match="the Caffe2 worker was killed by SIGKILL"):
        runtime.run({"data": X})
    killer.join()
    np.testing.assert_array_equal(runtime.run({"data": X})["y"], Y)


@pytest.mark.caffe2
def test_a_hung_worker_is_killed_at_the_deadline(nets: Nets) -> None:
    with Caffe2Runtime(nets, timeout=20) as runtime:
        runtime.run({"data": X})
        first = worker_of(runtime)
        os.kill(first, signal.SIGSTOP)
        runtime._timeout = 0.3
        with pytest.raises(RuntimeFailed, match=r"did not answer within 0\.3 s and was killed"):
            runtime.run({"data": X})
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        runtime._timeout = 20
        np.testing.assert_array_equal(runtime.run({"data": X})["y"], Y)


@pytest.mark.caffe2
def test_an_operator_that_fails_is_told_in_caffe2s_words_and_the_next_run_starts_afresh(runtime: Caffe2Runtime) -> None:
    runtime.run({"data": X})
    first = worker_of(runtime)
    with pytest.raises(RuntimeFailed, match=r'(?s)genuine Caffe2 failed: .*enforce fail.*type: "Add"'):
        runtime.run({"data": np.ones((2, 5), np.float32)})
    np.testing.assert_array_equal(runtime.run({"data": X})["y"], Y)
    assert worker_of(runtime) != first


@pytest.mark.caffe2
def test_an_operator_that_crashes_the_process_is_told_with_the_signal(make_nets: MakeNets) -> None:
    """Genuine Caffe2 1.10.2 aborts on a RoI of negative size with aligned=1."""
    arguments = {"aligned": 1, "pooled_h": 2, "pooled_w": 2, "spatial_scale": 1.0}
    crashing = make_nets([("RoIAlign", ["data", "rois"], ["y"], arguments)], inputs=["data", "rois"])
    data = np.ones((1, 1, 8, 8), np.float32)
    good, bad = (np.array([[0, 1, 1, x, 5]], np.float32) for x in (5, -3))
    with Caffe2Runtime(crashing, timeout=60) as runtime:
        with pytest.raises(RuntimeFailed, match="the Caffe2 worker was killed by SIGABRT; its last words"):
            runtime.run({"data": data, "rois": bad})
        np.testing.assert_allclose(runtime.run({"data": data, "rois": good})["y"], np.ones((1, 1, 2, 2)))


@pytest.mark.caffe2
def test_operators_that_caffe2_does_not_have_are_all_named(make_nets: MakeNets) -> None:
    nets = make_nets([("Nonsense", ["data"], ["a"], {}), ("Gibberish", ["a"], ["y"], {})])
    with Caffe2Runtime(nets) as runtime, pytest.raises(UnsupportedOperator, match="'Gibberish', 'Nonsense'"):
        runtime.run({"data": X})


@pytest.mark.caffe2
def test_a_worker_ends_when_the_runtime_is_closed(nets: Nets) -> None:
    runtime = Caffe2Runtime(nets)
    runtime.run({"data": X})
    pid = worker_of(runtime)
    runtime.close()
    runtime.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    # It can be used again.
    np.testing.assert_array_equal(runtime.run({"data": X})["y"], Y)
    runtime.close()


@pytest.mark.caffe2
def test_the_thread_settings_reach_the_worker(nets: Nets) -> None:
    with Caffe2Runtime(nets, threads=1) as runtime:
        runtime.run({"data": X})
        environment = Path(f"/proc/{worker_of(runtime)}/environ").read_bytes().split(b"\0")
    assert {b"OMP_NUM_THREADS=1", b"MKL_NUM_THREADS=1"} <= set(environment)


@pytest.mark.caffe2
def test_runs_from_several_threads_take_turns(runtime: Caffe2Runtime) -> None:
    found: dict[int, np.ndarray] = {}

    def work(k: int) -> None:
        found[k] = runtime.run({"data": k * X.clip(0)})["y"]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    for k, array in found.items():
        np.testing.assert_array_equal(array, k * X.clip(0) + PARAMETERS["p"])


# From here on a stand-in is the interpreter: a script that is given the worker's paths and answers as it likes.
STAND_IN = f"""#!{sys.executable} -u
import importlib.util, os, sys, time
def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
child, frames = load("child", sys.argv[-2]), load("frames", sys.argv[-1])
def handle(request):
    header, arrays = frames.unpack(request)
    return frames.pack(*(load_reply if header["do"] == "load" else run_reply)(header, arrays))
def load_reply(header, arrays):
    return {{}}, {{}}
def run_reply(header, arrays):
    return {{}}, {{name: arrays["data"] for name in header["fetch"]}}
"""
Standing = Callable[[str], Caffe2Runtime]


@pytest.fixture
def stand_in(nets: Nets, tmp_path: Path) -> Iterator[Standing]:
    """`stand_in(script)`: a runtime whose interpreter is that script."""
    runtimes: list[Caffe2Runtime] = []

    def make(script: str) -> Caffe2Runtime:
        program = tmp_path / f"python{len(runtimes)}"
        program.write_text(STAND_IN + textwrap.dedent(script) + "child.serve(handle)\n")
        program.chmod(0o755)
        runtimes.append(Caffe2Runtime(nets, python=program, timeout=20))
        return runtimes[-1]

    yield make
    for runtime in runtimes:
        runtime.close()


def test_the_framing_carries_arrays_there_and_back(stand_in: Standing) -> None:
    np.testing.assert_array_equal(stand_in("").run({"data": X})["y"], X)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("def run_reply(header, arrays): os._exit(3)\n", "exit code 3"),
        ("def run_reply(header, arrays): os.kill(os.getpid(), 9)\n", "killed by SIGKILL"),
        ("def run_reply(header, arrays): raise SystemError('last words')\n", "(?s)exit code 1.*last words"),
        (
            "def run_reply(header, arrays): return {'error': 'RuntimeError: no'}, {}\n",
            "Caffe2 failed: RuntimeError: no",
        ),
        ("def run_reply(header, arrays): return {}, {}\n", r"gave blobs \[\] where \['y'\]"),
        ("def load_reply(header, arrays): os._exit(4)\n", "exit code 4"),
        ("def handle(request): return b'garbage'\n", "what is not arrays"),
        ("def handle(request): return b''\n", "what is not arrays"),
        ("os.write(1, b'a warning on stdout')\n", "what is not a frame"),
        ("os.write(1, b'roastery' + b'\\x7f' * 8); time.sleep(60)\n", "over the limit"),
    ],
)
def test_a_worker_that_fails_raises_and_gives_nothing(stand_in: Standing, script: str, message: str) -> None:
    with pytest.raises(RuntimeFailed, match=message):
        stand_in(script).run({"data": X})


def test_after_a_death_the_net_is_loaded_again(stand_in: Standing, tmp_path: Path) -> None:
    """The stand-in dies in its first run and notes each load."""
    log = tmp_path / "loads"
    runtime = stand_in(f"""
        def load_reply(header, arrays):
            open({str(log)!r}, "a").write("load ")
            return {{}}, {{}}
        def run_reply(header, arrays):
            if open({str(log)!r}).read() == "load ":
                os._exit(1)
            return {{}}, {{"y": arrays["data"]}}
    """)
    with pytest.raises(RuntimeFailed):
        runtime.run({"data": X})
    np.testing.assert_array_equal(runtime.run({"data": X})["y"], X)
    assert log.read_text() == "load load "


def test_a_worker_that_has_no_net_is_given_it(stand_in: Standing, tmp_path: Path) -> None:
    """As one that the call itself had to start, because the one before had died unseen."""
    log = tmp_path / "loads"
    runtime = stand_in(f"""
        def load_reply(header, arrays):
            open({str(log)!r}, "a").write("load ")
            return {{}}, {{}}
        def run_reply(header, arrays):
            lost = open({str(log)!r}).read() == "load "
            return ({{"unloaded": True}}, {{}}) if lost else ({{}}, {{"y": arrays["data"]}})
    """)
    np.testing.assert_array_equal(runtime.run({"data": X})["y"], X)
    assert log.read_text() == "load load "


def test_a_hung_stand_in_is_killed_at_the_deadline(stand_in: Standing) -> None:
    runtime = stand_in("def run_reply(header, arrays): os.kill(os.getpid(), 19); time.sleep(60)\n")
    started = time.monotonic()
    runtime._timeout = 1.0
    with pytest.raises(RuntimeFailed, match="did not answer within 1 s"):
        runtime.run({"data": X})
    assert time.monotonic() - started < 15


def test_a_missing_input_is_named_before_a_worker_starts(nets: Nets) -> None:
    runtime = Caffe2Runtime(nets, python=Path("/no/such/python"))
    with pytest.raises(ModelFileError, match=r"needs blob 'data', which neither model_init\.pb fills"):
        runtime.run({})


def test_a_fetched_blob_that_is_not_there_is_named_before_a_worker_starts(nets: Nets) -> None:
    runtime = Caffe2Runtime(nets, python=Path("/no/such/python"))
    with pytest.raises(ModelFileError, match=r"model\.pb has no blob 'ghost'"):
        runtime.run({"data": X}, fetch=["ghost"])


def test_an_input_that_is_not_numbers_is_named(nets: Nets) -> None:
    runtime = Caffe2Runtime(nets, python=Path("/no/such/python"))
    with pytest.raises(RuntimeFailed, match="input array 'data' of type <U4 cannot be sent"):
        runtime.run({"data": np.array(["text"])})


def test_an_interpreter_that_is_not_there_is_named(nets: Nets) -> None:
    runtime = Caffe2Runtime(nets, python=Path("/no/such/python"))
    with pytest.raises(RuntimeFailed, match=r"could not be started: .*/no/such/python"):
        runtime.run({"data": X})


def test_an_interpreter_without_caffe2_says_so_with_its_last_words(nets: Nets) -> None:
    with (
        Caffe2Runtime(nets, python=Path(sys.executable), timeout=60) as runtime,
        pytest.raises(RuntimeFailed, match=r"(?s)its last words.*ModuleNotFoundError: No module named 'caffe2'"),
    ):
        runtime.run({"data": X})


def fake_interpreter(file: Path, has_caffe2: bool) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\nexit {0 if has_caffe2 else 1}\n")
    file.chmod(0o755)
    return file


def test_the_named_interpreter_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = fake_interpreter(tmp_path / "named", has_caffe2=True)
    fake_interpreter(tmp_path / ".caffe2/bin/python", has_caffe2=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAFFE2_PYTHON", str(named))
    assert find_caffe2_python() == named


def test_a_named_interpreter_without_caffe2_yields_to_the_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CAFFE2_PYTHON may name what `make caffe2` was to build from."""
    installed = fake_interpreter(tmp_path / ".caffe2/bin/python", has_caffe2=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAFFE2_PYTHON", str(fake_interpreter(tmp_path / "bare", has_caffe2=False)))
    assert find_caffe2_python() == installed


def test_no_interpreter_is_an_error_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAFFE2_PYTHON", raising=False)
    monkeypatch.setattr("roastery.caffe2.caffe2_runtime.__file__", str(tmp_path / "a" / "b" / "c.py"))
    with pytest.raises(Caffe2Unavailable, match="run `make caffe2`"):
        find_caffe2_python()


def test_a_named_interpreter_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAFFE2_PYTHON", "/no/such/python")
    with pytest.raises(Caffe2Unavailable, match="CAFFE2_PYTHON is '/no/such/python', which is no program"):
        find_caffe2_python()
