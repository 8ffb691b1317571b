"""LazyConfig: a model's config as Python code, which is run.

Source: detectron2 0.6, config/lazy.py, for what relative imports of a config mean.
"""

import ast
import hashlib
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from roastery.errors import ConfigError
from roastery.sources.live.importing import detectron2

SUFFIX = ".py"


def is_lazy(config: Path | str) -> bool:
    """Whether a config is code, by its name."""
    return str(config).endswith(SUFFIX)


def run_lazy(file: Path, overrides: Sequence[str]) -> Any:
    """The config that the file gives when it is run: an omegaconf node with `model`.

    Args:
        overrides: KEY VALUE KEY VALUE ..., as of any config: `["model.roi_heads.num_classes", "3"]`.

    Raises:
        ConfigError: no such file, or one without a model; an override that fits nothing.
        Detectron2Unavailable: there is none.
    """
    if not file.is_file():
        raise ConfigError(f"{file}: no such LazyConfig; give the path of the .py file")
    lazy = detectron2("config").LazyConfig
    config = lazy.load(str(file))
    if "model" not in config:
        raise ConfigError(f"{file}: has no `model`; name the LazyConfig that builds one")
    if len(overrides) % 2:
        raise ConfigError(f"overrides: {overrides[-1]!r} has no partner; give pairs of KEY VALUE, such as train.seed 1")
    pairs = [f"{key}={value}" for key, value in zip(overrides[::2], overrides[1::2], strict=True)]
    # Whatever hydra cannot parse, and what omegaconf's own errors derive from.
    unparsed = importlib.import_module("hydra.errors").HydraException
    try:
        return lazy.apply_overrides(config, pairs) if pairs else config
    except (unparsed, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"overrides: {' '.join(str(error).split())[:300]}; mend the key or its value") from None


def weights_of(config: Any) -> str:
    """`train.init_checkpoint`; "" where it is not said."""
    return str(_reach(config, "train", "init_checkpoint") or "")


def own_keys(config: Any) -> dict[str, Any]:
    """What a LazyConfig says beside its model, under detectron2's keys: test images' size, and what it is tested on."""
    found: dict[str, Any] = {}
    names = _reach(config, "dataloader", "test", "dataset", "names")
    if names:
        found["DATASETS"] = {"TEST": (names,) if isinstance(names, str) else tuple(names)}
    for augmentation in _reach(config, "dataloader", "test", "mapper", "augmentations") or ():
        short, most = _reach(augmentation, "short_edge_length"), _reach(augmentation, "max_size")
        if short is not None:
            least = int(short if isinstance(short, int) else min(short))
            found["INPUT"] = {"MIN_SIZE_TEST": least, **({"MAX_SIZE_TEST": int(most)} if most else {})}
    return found


def _reach(node: Any, *names: str) -> Any:
    for name in names:
        node = node.get(name) if isinstance(node, Mapping) else getattr(node, name, None)
        if node is None:
            return None
    return node


def lazy_sha256(file: Path) -> str:
    """The digest of a LazyConfig and of all files that it imports relatively, at any depth. Nothing of them is run.

    Raises:
        ConfigError: a file that is not there or is no Python.
    """
    digest = hashlib.sha256()
    waiting, seen = [file], {file.resolve()}
    while waiting:
        source = waiting.pop()
        content = _read(source)
        digest.update(f"{hashlib.sha256(content).hexdigest()}\0".encode())
        for imported in _imported(source, content):
            if imported.resolve() not in seen:
                seen.add(imported.resolve())
                waiting.append(imported)
    return digest.hexdigest()


def _read(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read ({error.strerror}); a LazyConfig or one it imports") from None


def _imported(source: Path, content: bytes) -> list[Path]:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: is no Python ({error}); a LazyConfig is") from None
    files = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        folder = source.parent
        for _ in range(node.level - 1):
            folder = folder.parent
        named = (node.module or "").split(".") if node.module else []
        files.append(folder.joinpath(*named).with_suffix(SUFFIX) if named else folder / "__init__.py")
    return files
