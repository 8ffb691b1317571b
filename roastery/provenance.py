"""Stage keys: one digest over everything that decides what a stage makes.

Sources are covered by their syntax trees without docstrings, and comments are no part of those: wording changes
nothing, and a changed line in what a stage does not import changes nothing either.
"""

import ast
import hashlib
import importlib.metadata
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from roastery.digest import JSON, json_sha256
from roastery.source_cache import remembered

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
    return remembered(modules, root, lambda: _parsed_digest(modules, root))


def _parsed_digest(modules: tuple[str, ...], root: Path) -> str:
    digests: dict[str, str] = {}
    seen = set(modules)
    waiting = list(seen)
    while waiting:
        module = waiting.pop()
        file = _file_of(module, root)
        if file is None:
            continue
        source = _source(file)
        digests[module] = source.digest
        new = set(_imported(module, file, source)) - seen
        seen |= new
        waiting.extend(new)
    return json_sha256(digests)


@dataclass(frozen=True)
class _Source:
    """What counts of a module's file."""

    digest: str
    """Of what it says without its words, and of its data files."""
    data: frozenset[Path]
    """Files beside it that it names."""
    imports: tuple[ast.Import | ast.ImportFrom, ...]
    walks: bool
    """Whether it imports what lies in its folder, as a registry of operators does."""


@cache
def _source(file: Path) -> _Source:
    tree = _parse(file.read_bytes())
    nodes = list(ast.walk(tree))
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names |= {node.id for node in nodes if isinstance(node, ast.Name)}
    data = _data_files(nodes, file)
    imports = tuple(node for node in _run_nodes(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    digest = hashlib.sha256(_said(tree))
    for path in sorted(data):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(_content(path)).digest())
    return _Source(digest.hexdigest(), data, imports, bool(names & {"iter_modules", "walk_packages"}))


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
        return _said(_parse(data.read_bytes()))
    return data.read_bytes()


def _said(tree: ast.Module) -> bytes:
    """What a tree says without its words, which it loses."""
    return ast.dump(_WithoutWords().visit(tree)).encode()


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


def _imported(module: str, file: Path, source: _Source) -> Iterator[str]:
    """What a module's imports load of Roastery: the modules, and the packages that they lie in."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in source.imports:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        else:
            origin = _absolute(node, package)
            yield from _with_parents(origin)
            for alias in node.names:
                # `from roastery.caffe2 import caffe2_pb2` loads a module, `from roastery.spec import ModelSpec` none.
                yield f"{origin}.{alias.name}"
    if file.name == "__init__.py" and source.walks:
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


def _data_files(nodes: Iterable[ast.AST], file: Path) -> frozenset[Path]:
    strings = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    named = {file.parent / name for name in strings if "." in name and "/" not in name and len(name) < 100}
    return frozenset(path for path in named if path != file and path.is_file())
