"""`make caffe2`: genuine Caffe2 in `.caffe2/`, from PyPI's torch 1.10.2, which holds it whole.

Finds CPython 3.8 or 3.9 (CAFFE2_PYTHON, the PATH, pyenv, uv), makes a virtual environment with exact versions and looks
at the end whether Caffe2 imports and has the detection operators. Run again, it does nothing where all is well.
Standard library only. Exit code 2: no interpreter; 1: the installation failed.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON_VARIABLE = "CAFFE2_PYTHON"
# CPython versions that PyPI has a torch 1.10.2 wheel for, and that its Caffe2 was seen to run on.
VERSIONS = ("3.8", "3.9")
# What torch 1.10.2's Caffe2 needs, and what that needs: every package named, so that the same set comes each time.
REQUIREMENTS = (
    "torch==1.10.2",
    "numpy==1.23.5",
    "protobuf==3.20.3",
    "future==1.0.0",
    "six==1.17.0",
    "typing-extensions==4.13.2",
)
# The operator that is there in no Caffe2 built without the detection operators.
CHECK = """
from caffe2.python import workspace
missing = {"BoxWithNMSLimit", "GenerateProposals", "RoIAlign"} - set(workspace.RegisteredOperators())
assert not missing, missing
"""
ASK_VERSION = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"


def main(arguments: list[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    parser = argparse.ArgumentParser(description="Install genuine Caffe2 beside Roastery.")
    parser.add_argument("--target", type=Path, default=ROOT / ".caffe2", help="the virtual environment to make")
    target: Path = parser.parse_args(arguments).target
    named = environment.get(PYTHON_VARIABLE)
    for present in (named, str(target / "bin" / "python")):
        if present and has_caffe2(present):
            print(f"Caffe2 is there: {present}")
            return 0
    if named and version_of(named) not in VERSIONS:
        return complain(f"{PYTHON_VARIABLE}={named} is no CPython {' or '.join(VERSIONS)}; name one that is", 2)
    base = find_interpreter(environment)
    if base is None:
        return complain(
            f"no CPython {' or '.join(VERSIONS)} on the PATH, in pyenv or in uv; install one "
            f"(`pyenv install 3.8`, `uv python install 3.9`) or name it in {PYTHON_VARIABLE}",
            2,
        )
    print(f"installing Caffe2 (torch 1.10.2, about 2 GB) for {base} in {target}", flush=True)
    try:
        install(base, target)
    except (subprocess.CalledProcessError, OSError, KeyboardInterrupt) as error:
        # A half-made environment would pass for one with Caffe2.
        shutil.rmtree(target, ignore_errors=True)
        return complain(f"the installation failed ({error or 'interrupted'}); {target} was removed", 1)
    print(f"Caffe2 is there: {target / 'bin' / 'python'}")
    return 0


def find_interpreter(environment: Mapping[str, str]) -> str | None:
    """The first CPython of the right version; one on the PATH that does not run (a pyenv shim) is passed over."""
    return next((found for found in candidates(environment) if version_of(found) in VERSIONS), None)


def candidates(environment: Mapping[str, str]) -> Iterator[str]:
    if environment.get(PYTHON_VARIABLE):
        yield environment[PYTHON_VARIABLE]
    path = environment.get("PATH", os.defpath)
    for version in VERSIONS:
        for folder in path.split(os.pathsep):
            file = Path(folder) / f"python{version}"
            if os.access(file, os.X_OK):
                yield str(file)
    home = environment.get("HOME", "")
    pyenv = Path(environment.get("PYENV_ROOT") or Path(home) / ".pyenv")
    for version in VERSIONS:
        yield from sorted(str(file) for file in pyenv.glob(f"versions/{version}.*/bin/python"))
    uv = shutil.which("uv", path=path)
    for version in VERSIONS if uv else ():
        found = ask([str(uv), "python", "find", "--no-project", version])
        if found:
            yield found


def version_of(interpreter: str) -> str | None:
    """ "3.8" for a CPython 3.8; None for what does not run or is no CPython."""
    words = ask([interpreter, "-I", "-c", ASK_VERSION]).split()
    return words[1] if len(words) == 2 and words[0] == "cpython" else None


def has_caffe2(interpreter: str) -> bool:
    try:
        return subprocess.run([interpreter, "-I", "-c", CHECK], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def install(base: str, target: Path) -> None:
    """Make the environment and look whether Caffe2 is in it."""
    python = str(target / "bin" / "python")
    subprocess.run([base, "-I", "-m", "venv", "--clear", str(target)], check=True)
    pip = [python, "-I", "-m", "pip", "install", "--disable-pip-version-check", "--only-binary", ":all:"]
    subprocess.run([*pip, *REQUIREMENTS], check=True)
    subprocess.run([python, "-I", "-c", CHECK], check=True)


def ask(command: list[str]) -> str:
    """What a program prints; nothing where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def complain(why: str, code: int) -> int:
    print(f"make caffe2: {why}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
