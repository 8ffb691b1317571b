"""Python, Roastery, PyTorch, and the packages that Roastery asks for."""

import importlib.metadata
import platform
from collections.abc import Iterable, Iterator

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import roastery
from roastery.doctor.child import ask
from roastery.doctor.finding import Finding

EXTRAS = {
    "pipeline": "Prefect and MLflow: `roastery run`, `roastery up`, the registry",
    "s3": "artifacts on S3",
    "postgres": "records in PostgreSQL",
    "onnxruntime": "models that ONNX Runtime runs",
}
_DISTRIBUTION = "roastery"
_TORCH = "import json, torch; print(json.dumps([torch.__version__, torch.version.cuda, torch.cuda.is_available()]))"


def look_at_python() -> Finding:
    """The interpreter, and whether Roastery supports it."""
    found = platform.python_version()
    try:
        wanted = importlib.metadata.metadata(_DISTRIBUTION)["Requires-Python"] or ""
    except importlib.metadata.PackageNotFoundError:
        return Finding("Python", "ok", found)
    if SpecifierSet(wanted).contains(found, prereleases=True):
        return Finding("Python", "ok", found)
    return Finding("Python", "wrong", f"{found}, and Roastery needs {wanted}", f"make a venv with a Python {wanted}")


def look_at_roastery() -> Finding:
    """Roastery's own version."""
    return Finding("Roastery", "ok", roastery.__version__)


def look_at_torch() -> Finding:
    """PyTorch, and whether it can be imported; its version is held to what is asked for with the other packages'."""
    said = ask(_TORCH)
    if said.error:
        return Finding("PyTorch", "wrong", said.error, "install it again: pip install -c constraints.txt torch")
    version, cuda, has_gpu = said.answer
    device = f"CUDA {cuda}, {'a GPU' if has_gpu else 'no GPU'}" if cuda else "CPU"
    return Finding("PyTorch", "ok", f"{version} ({device})")


def look_at_packages() -> Finding:
    """What Roastery cannot do without, in the versions that it asks for."""
    return _packages("packages", _required(""), "pip install -c constraints.txt -e .")


def look_at_extra(extra: str) -> Finding:
    """What an extra brings; where nothing of it is there, it was not asked for."""
    required = list(_required(extra))
    name = f"extra {extra}"
    install = f"pip install -c constraints.txt -e '.[{extra}]'"
    if required and all(_version(each.name) is None for each in required):
        return Finding(name, "missing", f"for {EXTRAS[extra]}", install)
    return _packages(name, required, install)


def _packages(name: str, required: Iterable[Requirement], install: str) -> Finding:
    required = list(required)
    if not required:
        return Finding(
            name, "warning", "Roastery is not installed as a package, so what it asks for is not known", install
        )
    wrong = []
    for each in required:
        version = _version(each.name)
        if version is None:
            wrong.append(f"{each.name} is missing")
        elif not each.specifier.contains(version, prereleases=True):
            wrong.append(f"{each.name} is {version}, not {each.specifier}")
    if wrong:
        return Finding(name, "wrong", "; ".join(wrong), install)
    return Finding(name, "ok", f"{len(required)} in the versions that Roastery asks for")


def _required(extra: str) -> Iterator[Requirement]:
    """Of Roastery's metadata: what an extra adds, or what is always needed."""
    try:
        told = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return
    for line in told:
        requirement = Requirement(line)
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        added = marker is not None and not always and marker.evaluate({"extra": extra})
        if added if extra else always:
            yield requirement


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
