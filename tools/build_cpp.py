"""`make cpp`: caffe2_detect in build/cpp/, from cpp/ and genuine Caffe2.

Caffe2's headers and libraries are in the torch that `make caffe2` installs. The headers that it lacks come from the
package index: protobuf 3.13.0's, of which the sources of grpcio-tools hold a copy, and MKL's. Nothing is downloaded
twice. Standard library, pip and Debian's packages only. Exit code 2: something to install first; 1: the build failed.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import install_caffe2

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "cpp"
PACKAGES = "cmake g++ libeigen3-dev libjpeg-dev libpng-dev nlohmann-json3-dev libcli11-dev"
# A file that each of the packages has.
NEEDED = (
    "eigen3/Eigen/Core",
    "jpeglib.h",
    "png.h",
    "nlohmann/json.hpp",
    "CLI/CLI.hpp",
)
INCLUDES = (Path("/usr/include"), Path("/usr/local/include"))
# caffe2.pb.h asks for exactly this protobuf.
PROTOBUF = (
    "grpcio-tools==1.34.1",
    "b411f36748f4ead33411544d785e37825598bbb8abbe79eca422e395be5a3d08",
    "third_party/protobuf/src/",
)
MKL = ("mkl-include==2026.2.0", "889cc72057a1671fee1e9a8beb2fc4e0d222ba78c08b6d69584dae03fbec4822", "data/include/")
# To name a source package's dependencies pip runs its setup.py, which imports what later ones no longer have.
SETUPTOOLS = "setuptools==75.3.2"


class CannotBuildError(Exception):
    """Why, and what to do."""


def main() -> int:
    try:
        look_for_packages()
        torch = torch_folder()
        protobuf = headers("protobuf", *PROTOBUF)
        mkl = headers("mkl", *MKL)
    except CannotBuildError as error:
        print(f"make cpp: {error}", file=sys.stderr)
        return 2
    folders = {"CAFFE2_ROOT": torch, "PROTOBUF_INCLUDE": protobuf, "MKL_INCLUDE": mkl}
    configure = ["cmake", "-S", str(ROOT / "cpp"), "-B", str(BUILD), *(f"-D{n}={f}" for n, f in folders.items())]
    compiled = ["cmake", "--build", str(BUILD), "--parallel", str(os.cpu_count() or 1)]
    try:
        subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(compiled, check=True)
    except subprocess.CalledProcessError as error:
        print(f"make cpp: {' '.join(error.cmd[:2])} failed; what it said is above", file=sys.stderr)
        return 1
    print(f"caffe2_detect is there: {BUILD / 'caffe2_detect'}")
    return 0


def look_for_packages() -> None:
    missing = [name for name in ("cmake", "g++") if shutil.which(name) is None]
    missing += [file for file in NEEDED if not any((folder / file).exists() for folder in INCLUDES)]
    if missing:
        raise CannotBuildError(f"no {', '.join(missing)} here; `apt-get install {PACKAGES}` brings them")


def torch_folder() -> Path:
    """The torch folder of the interpreter that has Caffe2."""
    named = os.environ.get(install_caffe2.PYTHON_VARIABLE)
    for python in (named, str(ROOT / ".caffe2" / "bin" / "python")):
        if python and install_caffe2.has_caffe2(python):
            where = "import importlib.util; print(importlib.util.find_spec('torch').submodule_search_locations[0])"
            return Path(install_caffe2.ask([python, "-I", "-c", where]))
    raise CannotBuildError("genuine Caffe2 is not here; `make caffe2` brings it")


def headers(name: str, requirement: str, digest: str, inside: str) -> Path:
    """The folder of the headers that lie in a package below the folder `inside`; downloaded if it is not there."""
    target = BUILD / "headers" / requirement.replace("==", "-")
    if target.is_dir():
        return target
    print(f"downloading {name}'s headers ({requirement})", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        archive = download(requirement, digest, Path(scratch))
        unpacked = Path(scratch) / "headers"
        for file, content in files_below(inside, archive):
            place = unpacked / safe(file)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        if not unpacked.is_dir():
            raise CannotBuildError(f"{archive.name} holds no headers in {inside}; look at the package index")
        unpacked.rename(target)
    return target


def download(requirement: str, digest: str, folder: Path) -> Path:
    """The package, of that SHA-256. pip compares before it runs anything of a source package."""
    constraint, wanted, target = folder / "constraints.txt", folder / "requirements.txt", folder / "archive"
    constraint.write_text(SETUPTOOLS + "\n")
    wanted.write_text(f"{requirement} --hash=sha256:{digest}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary" if requirement == MKL[0] else "--no-binary", ":all:", "--require-hashes"]
    environment = {**os.environ, "PIP_CONSTRAINT": str(constraint)}
    done = subprocess.run(
        [*command, "--dest", str(target), "--requirement", str(wanted)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    archives = list(target.iterdir()) if target.is_dir() else []
    if done.returncode != 0 or len(archives) != 1:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        # Of a wrong digest the first error says that it is one, and the last line which was found.
        errors = [line for line in said if line.startswith("ERROR:")]
        why = (errors or said[-1:])[0].strip()
        raise CannotBuildError(f"{requirement} cannot be downloaded ({why}); look at the network and pip's settings")
    return archives[0]


def files_below(inside: str, archive: Path) -> Iterator[tuple[str, bytes]]:
    """The headers in a wheel or a source package: their paths below the folder `inside`, and their content."""

    def below(name: str) -> str | None:
        _, folder, file = name.partition(inside)
        return file if folder and file.endswith((".h", ".inc")) else None

    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in wheel.namelist():
                if file := below(name):
                    yield file, wheel.read(name)
        return
    with tarfile.open(archive) as package:
        for member in package:
            opened = package.extractfile(member) if member.isfile() else None
            if opened is not None and (file := below(member.name)):
                yield file, opened.read()


def safe(file: str) -> PurePosixPath:
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts:
        raise CannotBuildError(f"a file would lie outside its folder: {file!r}; look at the package index")
    return path


if __name__ == "__main__":
    sys.exit(main())
