"""Stage keys: one digest over everything that decides what a stage makes.

Sources are covered by their syntax trees without docstrings, and comments are no part of those: wording changes
nothing, and a changed line in what a stage does not import changes nothing either.
"""

import ast
import hashlib
import importlib.metadata
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from roastery.digest import JSON, json_sha256

PACKAGE = "roastery"
_ROOT = Path(__file__).parent
# A version says what a release is called, not what it does: a release alone reconverts nothing.
_NAMES_ONLY = ("__version__", "__all__")
_PARSE_ATTEMPTS = 10
_parsing = threading.Lock()


def stage_key(
    stage: str, inputs: Mapping[str, JSON], modules: Sequence[str], packages: Sequence[str], root: Path = _ROOT
) -> str:
    """The key of a stage's artifact.

    Args:
        stage: the stage's name.
        inputs: all that it is given, as JSON: digests of files, parameters. No paths and no times.
        modules: where its code begins, for example ("roastery.stages.trace",); what they import of Roastery follows.
        packages: distributions whose versions matter to it ("torch", "onnx").
        root: the folder of the package `roastery`.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: inputs that are not JSON (NaN, for one).
        importlib.metadata.PackageNotFoundError: a package that is not installed.
    """
    return json_sha256(
        {
            "stage": stage,
            "inputs": inputs,
            "sources": source_digest(tuple(sorted(modules)), root),
            "packages": {name: package_version(name) for name in packages},
        }
    )


@cache
def package_version(name: str) -> str:
    """The installed version of a distribution."""
    return importlib.metadata.version(name)


@cache
def source_digest(modules: tuple[str, ...], root: Path = _ROOT) -> str:
    """The digest of modules of Roastery and of all that they import of it, at any depth, found without importing them.

    Imports inside functions count. A data file counts when it lies beside a module and the module names it in a string.
    """
    digests: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        file = _file_of(module, root)
        if file is None or module in digests:
            continue
        digests[module] = _module_digest(file)
        waiting.extend(_imported(module, file, root))
    return json_sha256(digests)


@cache
def _tree(file: Path) -> ast.Module:
    return _parse(file.read_bytes())


@cache
def _module_digest(file: Path) -> str:
    tree = _tree(file)
    digest = hashlib.sha256(ast.dump(_WithoutWords().visit(_parse(file.read_bytes()))).encode())
    for data in sorted(_data_files(tree, file)):
        digest.update(data.name.encode() + b"\0" + hashlib.sha256(_content(data)).digest())
    return digest.hexdigest()


def _parse(source: bytes) -> ast.Module:
    """A syntax tree.

    CPython 3.11 counts the depth of trees in one place for all threads; one that parses at the same time makes it raise
    SystemError of a good source (python/cpython#106905). Parsing again is right.
    """
    with _parsing:
        for _ in range(_PARSE_ATTEMPTS - 1):
            try:
                return ast.parse(source)
            except SystemError:
                continue
        return ast.parse(source)


def _content(data: Path) -> bytes:
    """A data file's bytes; of a Python file, which another interpreter runs, its tree's as of any module."""
    if data.suffix == ".py":
        return ast.dump(_WithoutWords().visit(_parse(data.read_bytes()))).encode()
    return data.read_bytes()


class _WithoutWords(ast.NodeTransformer):
    """Drops docstrings, other strings that stand alone (they document the line above), and `__version__`."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        alone = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if alone else node

    def visit_Assign(self, node: ast.Assign) -> ast.Assign | None:
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        return None if names and all(name in _NAMES_ONLY for name in names) else node


def _file_of(module: str, root: Path) -> Path | None:
    """The file of a module of Roastery, or None where the name is a module's attribute, or foreign."""
    first, *rest = module.split(".")
    if first != PACKAGE:
        return None
    path = root.joinpath(*rest)
    for file in (path / "__init__.py", path.with_suffix(".py") if rest else path / "__init__.py"):
        if file.is_file():
            return file
    return None


def _imported(module: str, file: Path, root: Path) -> Iterator[str]:
    """What a module's imports load of Roastery: the modules, and the packages that they lie in."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in _run_nodes(_tree(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, package)
            yield from _with_parents(source)
            for alias in node.names:
                # `from roastery.caffe2 import caffe2_pb2` loads a module, `from roastery.spec import ModelSpec` none.
                yield f"{source}.{alias.name}"
    if file.name == "__init__.py" and _imports_its_folder(file):
        yield from (f"{module}.{other.stem}" for other in sorted(file.parent.glob("*.py")) if other != file)
    yield from _with_parents(module)


def _run_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`, which no run ever sees."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _with_parents(module: str) -> Iterable[str]:
    parts = module.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))] if parts[0] == PACKAGE else []


def _imports_its_folder(file: Path) -> bool:
    """Whether a package walks its folder to import what lies there, as a registry of operators does."""
    names = {node.attr for node in ast.walk(_tree(file)) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(_tree(file)) if isinstance(node, ast.Name)}
    return bool(names & {"iter_modules", "walk_packages"})


def _data_files(tree: ast.Module, file: Path) -> set[Path]:
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    named = {file.parent / name for name in strings if "." in name and "/" not in name and len(name) < 100}
    return {path for path in named if path != file and path.is_file()}
