"""`make caffe2`: which interpreter it takes, and what it leaves behind."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "tools" / "install_caffe2.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install_caffe2", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def interpreter(file: Path, version: str, caffe2: bool = False, implementation: str = "cpython") -> str:
    """A program that answers as an interpreter of that version would, with Caffe2 in it or without."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        "#!/bin/sh\n"
        f'case "$3" in *caffe2*) exit {0 if caffe2 else 1};; esac\n'
        f'if [ "$2" = -c ]; then echo {implementation} {version}; exit 0; fi\n'
        "echo no network >&2; exit 1\n"
    )
    file.chmod(0o755)
    return str(file)


def run(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(SCRIPT), "--target", str(tmp_path / ".caffe2")]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)} | environment
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_without_an_interpreter_it_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = run(tmp_path, PATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "no CPython 3.8 or 3.9 on the PATH, in pyenv or in uv" in done.stderr
    assert not (tmp_path / ".caffe2").exists()


@pytest.mark.parametrize("named", [sys.executable, "/no/such/python"])
def test_a_named_interpreter_of_another_version_is_refused(tmp_path: Path, named: str) -> None:
    done = run(tmp_path, CAFFE2_PYTHON=named)
    assert done.returncode == 2
    assert done.stderr == f"make caffe2: CAFFE2_PYTHON={named} is no CPython 3.8 or 3.9; name one that is\n"


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    python = interpreter(tmp_path / ".caffe2" / "bin" / "python", "3.8", caffe2=True)
    done = run(tmp_path, PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"Caffe2 is there: {python}\n")


def test_a_named_interpreter_with_caffe2_needs_no_installation(tmp_path: Path) -> None:
    named = interpreter(tmp_path / "conda" / "python", "3.8", caffe2=True)
    done = run(tmp_path, CAFFE2_PYTHON=named)
    assert (done.returncode, done.stdout) == (0, f"Caffe2 is there: {named}\n")
    assert not (tmp_path / ".caffe2").exists()


def test_a_failed_installation_leaves_nothing_that_passes_for_one(tmp_path: Path) -> None:
    (tmp_path / ".caffe2" / "bin").mkdir(parents=True)
    done = run(tmp_path, PATH=str(Path(interpreter(tmp_path / "bin" / "python3.8", "3.8")).parent))
    assert done.returncode == 1
    assert "the installation failed" in done.stderr
    assert not (tmp_path / ".caffe2").exists()


def test_an_interpreter_on_the_path_comes_first_and_the_older_version_before_the_newer(
    tool: ModuleType, tmp_path: Path
) -> None:
    old, new = (interpreter(tmp_path / "bin" / f"python{v}", v) for v in ("3.8", "3.9"))
    pyenv = interpreter(tmp_path / ".pyenv" / "versions" / "3.8.20" / "bin" / "python", "3.8")
    environment = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}
    assert list(tool.candidates(environment)) == [old, new, pyenv]
    assert tool.find_interpreter(environment) == old
    assert tool.find_interpreter(environment | {"CAFFE2_PYTHON": new}) == new


def test_a_shim_that_does_not_run_is_passed_over(tool: ModuleType, tmp_path: Path) -> None:
    shim = tmp_path / "shims" / "python3.8"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.8: command not found' >&2; exit 127\n")
    shim.chmod(0o755)
    pyenv = interpreter(tmp_path / ".pyenv" / "versions" / "3.9.1" / "bin" / "python", "3.9")
    assert tool.find_interpreter({"PATH": str(shim.parent), "HOME": str(tmp_path)}) == pyenv


def test_pyenvs_own_root_is_looked_into(tool: ModuleType, tmp_path: Path) -> None:
    python = interpreter(tmp_path / "elsewhere" / "versions" / "3.8.2" / "bin" / "python", "3.8")
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path), "PYENV_ROOT": str(tmp_path / "elsewhere")}
    assert tool.find_interpreter(environment) == python


def test_uv_is_asked_last(tool: ModuleType, tmp_path: Path) -> None:
    python = interpreter(tmp_path / "uv-python" / "python", "3.9")
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(f'#!/bin/sh\nif [ "$1 $2 $4" = "python find 3.9" ]; then echo {python}; else exit 2; fi\n')
    uv.chmod(0o755)
    assert tool.find_interpreter({"PATH": str(uv.parent), "HOME": str(tmp_path)}) == python


def test_another_implementation_is_not_taken(tool: ModuleType, tmp_path: Path) -> None:
    interpreter(tmp_path / "python3.8", "3.8", implementation="pypy")
    assert tool.find_interpreter({"PATH": str(tmp_path), "HOME": str(tmp_path)}) is None


def test_every_requirement_is_pinned_exactly(tool: ModuleType) -> None:
    assert all(requirement.count("==") == 1 for requirement in tool.REQUIREMENTS)


@pytest.mark.caffe2
def test_the_installed_caffe2_passes_its_own_check(tmp_path: Path) -> None:
    command = [sys.executable, "-I", str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Caffe2 is there: ")
