"""detectron2's YAML configs: its defaults, `_BASE_` files and KEY VALUE overrides, read without running anything.

Source: detectron2/config/config.py, fvcore/common/config.py and yacs/config.py, for how values are merged: a string is
read as a Python literal where it is one, a list becomes a tuple where the default is a tuple, and the other way round.
Beyond yacs, an integer is taken where the default is a float.
"""

import ast
import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from roastery.config_defaults import DEFAULTS
from roastery.errors import ConfigError
from roastery.extensions import Hook
from roastery.home import at_home
from roastery.projects import SECTIONS
from roastery.results import Measures
from roastery.safe_yaml import read_yaml
from roastery.zoo import ZOO_VARIABLE, find_config

BASE_KEY = "_BASE_"
MAX_FILES = 32
"""Files that one config may be made of."""
_NAMED = 5
_LONGEST_LITERAL = 4096
# Lists in lists: with the sections above them still less than a dumped config may have (`safe_yaml.MAX_DEPTH`).
_DEEPEST_LIST = 16
_VERSION = DEFAULTS["VERSION"]
# What is measured of those that tell no classes of objects.
_WITHOUT_CLASSES = {"ProposalNetwork": "box_proposals", "SemanticSegmentor": "sem_seg"}
_SCALARS = (str, int, float, bool, type(None))

_Tree = dict[str, Any]


def load_config(path: Path | str, overrides: Sequence[str] = (), hooks: Sequence[Hook] = ()) -> CfgNode:
    """The whole config that a file describes: detectron2's defaults, its `_BASE_` files, the file, the overrides.

    Args:
        path: a dumped config, or one that names only what differs. `_BASE_` is relative to the file that holds it.
            What is no file is looked for in detectron2's model zoo (`roastery.zoo.find_config`).
        overrides: KEY VALUE KEY VALUE ..., as on a command line: `["MODEL.WEIGHTS", "a.pkl", "MODEL.DEVICE", "cpu"]`.
        hooks: functions of custom modules (`roastery.extensions`) that add keys of their own to the defaults.

    Returns:
        A frozen config with every key of `DEFAULTS`.

    Raises:
        ConfigError: a file that is missing or not plain YAML, a key that detectron2 does not have, a value of another
            type, a `_BASE_` that leads back to itself, a config of VERSION 1.
    """
    tree = _defaults(hooks)
    for source, content in read_layers(path):
        _merge_file(content, tree, source)
    _merge_overrides(overrides, tree)
    _check_version(tree["VERSION"], "overrides")
    config = CfgNode(tree)
    config.freeze()
    return config


def _defaults(hooks: Sequence[Hook]) -> _Tree:
    tree = deepcopy(DEFAULTS)
    if not hooks:
        return tree
    node = CfgNode(tree)
    for hook in hooks:
        hook(node)
    return _as_tree(node)


def _as_tree(node: Mapping[str, Any]) -> _Tree:
    return {key: _as_tree(value) if isinstance(value, Mapping) else value for key, value in node.items()}


def read_layers(path: Path | str) -> list[tuple[Path, _Tree]]:
    """The files that a config is made of, as plain values, those that others build on first.

    Raises:
        ConfigError: a file that is missing or not plain YAML, a `_BASE_` that leads back to itself, VERSION 1.
    """
    files = []
    for file in _read_with_bases(find_config(path), ()):
        files.append(file)
        if len(files) > MAX_FILES:
            raise ConfigError(f"{path}: is made of more than {MAX_FILES} files in {BASE_KEY}; write fewer layers")
    _check_versions(files)
    return files


def known_keys(own: Mapping[str, Any]) -> _Tree:
    """detectron2's defaults, and over them what a config says under keys that detectron2 has."""
    tree = deepcopy(DEFAULTS)
    _take(own, tree)
    return tree


def _take(own: Mapping[str, Any], tree: _Tree) -> None:
    for key, value in own.items():
        if key not in tree:
            continue
        if isinstance(tree[key], dict):
            if isinstance(value, Mapping):
                _take(value, tree[key])
        elif isinstance(value, list | tuple) and isinstance(tree[key], list | tuple):
            tree[key] = type(tree[key])(value)
        else:
            tree[key] = value


def family(config: CfgNode) -> str:
    """The meta-architecture of detectron2's that a model is read as: its own, or the one that a user's derives from."""
    from roastery.detectors.registries import META_ARCH_REGISTRY

    name: str = config.MODEL.META_ARCHITECTURE
    part = META_ARCH_REGISTRY.get(name) if name in META_ARCH_REGISTRY else None
    kind: str = getattr(part, "meta_architecture", name)
    return kind


def measures(config: CfgNode) -> Measures:
    """What is measured of a model: boxes and what its heads find beside them, or what it gives instead."""
    model, kind = config.MODEL, family(config)
    if kind in _WITHOUT_CLASSES:
        return Measures(iou_types=(_WITHOUT_CLASSES[kind],))
    iou_types = ["bbox"]
    if kind != "RetinaNet":
        iou_types += ["segm"] if model.MASK_ON else []
        iou_types += ["keypoints"] if model.KEYPOINT_ON else []
    if kind == "PanopticFPN":
        iou_types += ["panoptic_seg", "sem_seg"]
    sigmas = config.TEST.KEYPOINT_OKS_SIGMAS if "keypoints" in iou_types else ()
    return Measures(iou_types=tuple(iou_types), oks_sigmas=tuple(float(sigma) for sigma in sigmas))


def class_count(config: CfgNode) -> int | None:
    """How many classes of objects a model knows; None where it tells none."""
    model, kind = config.MODEL, family(config)
    if kind in _WITHOUT_CLASSES:
        return None
    node = model.RETINANET if kind == "RetinaNet" else model.ROI_HEADS
    count: int = node.NUM_CLASSES
    return count


def dump_config(config: CfgNode) -> str:
    """The config as YAML with sorted keys and no aliases: equal configs give equal text, and it loads as the same."""
    return yaml.dump(_plain(config), Dumper=_CanonicalDumper, sort_keys=True, width=4096)


class _CanonicalDumper(yaml.SafeDumper):
    """Writes a list that occurs twice twice: whether two keys share a list says nothing about the config."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    # A string that reads as a Python literal would come back as that literal.
    if isinstance(value, str) and _decode(value) != value:
        return repr(value)
    return value


def _read_with_bases(path: Path, children: tuple[Path, ...]) -> Iterator[tuple[Path, _Tree]]:
    """The file and those that it builds on, the furthest first."""
    if len(children) >= MAX_FILES:
        raise ConfigError(f"{path}: lies under more than {MAX_FILES} files in {BASE_KEY}; write fewer layers")
    content = _read_file(path)
    # `Path.resolve` fails where there is nothing; this does not.
    identity = Path(os.path.realpath(path))
    if identity in children:
        raise ConfigError(f"{children[-1]}: {BASE_KEY} leads back to {path}; remove one of them from the circle")
    bases = content.pop(BASE_KEY, [])
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or not base:
            raise ConfigError(f"{path}: {BASE_KEY} is {base!r}; name a file, relative to this one")
        if re.match(r"[A-Za-z][\w+.-]+://", base):
            raise ConfigError(f"{path}: {BASE_KEY} is {base}; configs are not fetched: download it and name the file")
        yield from _read_with_bases(path.parent / at_home(base), (*children, identity))
    yield path, content


def _read_file(path: Path) -> _Tree:
    try:
        content = read_yaml(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give a detectron2 config file, or its name in the model zoo "
            f"with {ZOO_VARIABLE} set"
        ) from None
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise ConfigError(f"{path}: not a config in plain YAML: {problem}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds a {_type_name(content)}; a config is a mapping of keys to values")
    return content


def _check_versions(files: Sequence[tuple[Path, _Tree]]) -> None:
    """Refuses VERSION 1, which named and meant keys otherwise; where none says so, detectron2's own guess decides."""
    versions = [content["VERSION"] for _, content in files if "VERSION" in content]
    old_keys = (("MODEL", "WEIGHT"), ("TEST", "AUG_ON"))
    if not versions:
        sections = [(content.get(section), key) for _, content in files for section, key in old_keys]
        versions = [1 if any(isinstance(found, dict) and key in found for found, key in sections) else _VERSION]
    _check_version(versions[-1], files[-1][0])


def _check_version(version: Any, source: Path | str) -> None:
    if version != _VERSION:
        raise ConfigError(
            f"{source}: VERSION {_shorten(version)} is not read, only {_VERSION}; load it in detectron2, "
            "which upgrades it, and save cfg.dump()"
        )


def _merge_file(content: _Tree, tree: _Tree, path: Path) -> None:
    unknown: list[str] = []
    _merge(content, tree, (), unknown, str(path))
    if unknown:
        raise ConfigError(f"{path}: {_describe_unknown(unknown)}")


def _merge(content: Mapping[Any, Any], tree: _Tree, above: tuple[str, ...], unknown: list[str], source: str) -> None:
    for key, value in content.items():
        full_key = ".".join((*above, str(key)))
        if key not in tree:
            unknown.append(full_key)
        elif isinstance(tree[key], dict) and isinstance(value, Mapping):
            _merge(value, tree[key], (*above, key), unknown, source)
        else:
            tree[key] = _coerce(_decode(value), tree[key], full_key, source)


def _merge_overrides(overrides: Sequence[str], tree: _Tree) -> None:
    if len(overrides) % 2:
        raise ConfigError(
            f"overrides: {overrides[-1]!r} has no partner; give pairs of KEY VALUE, such as MODEL.DEVICE cpu"
        )
    for full_key, value in zip(overrides[::2], overrides[1::2], strict=True):
        *above, last = full_key.split(".")
        section: Any = tree
        for name in above:
            section = section.get(name) if isinstance(section, dict) else None
        if not isinstance(section, dict) or last not in section:
            raise ConfigError(f"overrides: {_describe_unknown([full_key])}")
        section[last] = _coerce(_decode(value), section[last], full_key, "overrides")


def _decode(value: Any) -> Any:
    """What yacs reads in a value: a string that is a Python literal is that literal."""
    if not isinstance(value, str) or len(value) > _LONGEST_LITERAL:
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value


def _coerce(value: Any, default: Any, full_key: str, source: str) -> Any:
    if isinstance(default, dict):
        raise ConfigError(f"{source}: {full_key} is a section, not {_shorten(value)}; give the keys that are in it")
    if _is_plain(value):
        if value is None or default is None or (type(value) is type(default) and not isinstance(value, list | tuple)):
            return value
        if isinstance(value, list | tuple) and isinstance(default, list | tuple):
            _check_entries(value, default, full_key, source)
            return type(default)(value)
        if isinstance(default, float) and type(value) is int and abs(value) < 2**53:
            return float(value)
    wanted = "string or number" if default is None else _type_name(default)
    raise ConfigError(
        f"{source}: {full_key} is {_shorten(value)} ({_type_name(value)}); "
        f"give a value of type {wanted}, such as {_shorten(default)}"
    )


def _check_entries(value: Sequence[Any], default: Sequence[Any], full_key: str, source: str) -> None:
    """Refuses a list with a word where the default has numbers, or the reverse; an empty default takes anything."""
    wanted, found = _entry_kinds(default), _entry_kinds(value)
    if wanted and not found <= wanted:
        raise ConfigError(
            f"{source}: {full_key} is {_shorten(value)}, with a {sorted(found - wanted)[0]} in it; "
            f"give {' or '.join(sorted(wanted))}s, such as {_shorten(default)}"
        )


def _entry_kinds(values: Sequence[Any]) -> set[str]:
    kinds: set[str] = set()
    for value in values:
        if isinstance(value, list | tuple):
            kinds |= _entry_kinds(value)
        else:
            kinds.add("number" if type(value) in (int, float) else _type_name(value))
    return kinds


def _is_plain(value: Any, depth: int = _DEEPEST_LIST) -> bool:
    if isinstance(value, list | tuple):
        return depth > 0 and all(_is_plain(entry, depth - 1) for entry in value)
    # An integer beyond 64 bits is no setting, and may be too long to be written down.
    return type(value) in _SCALARS and not (isinstance(value, int) and value.bit_length() > 64)


def _describe_unknown(keys: Sequence[str]) -> str:
    for key in keys:
        for section, why in SECTIONS.items():
            if key == section or key.startswith(f"{section}."):
                return f"{_shorten(key, quote=False)} cannot be converted: {why}"
    described = []
    for key in keys[:_NAMED]:
        closest = _closest_key(key)
        described.append(f"{_shorten(key, quote=False)}{f' (did you mean {closest}?)' if closest else ''}")
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return f"detectron2's config has no key {', '.join(described)}{more}; correct or remove it"


def _closest_key(key: str) -> str | None:
    known = list(_all_keys(DEFAULTS, ()))
    last = key.upper().split(".")[-1]
    same_name = [candidate for candidate in known if candidate.split(".")[-1] == last]
    for candidates, cutoff in ((same_name, 0.0), (known, 0.6)):
        found = difflib.get_close_matches(key.upper()[:200], candidates, 1, cutoff)
        if found:
            return found[0]
    return None


def _all_keys(tree: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[str]:
    for key, value in tree.items():
        yield ".".join((*above, key))
        if isinstance(value, Mapping):
            yield from _all_keys(value, (*above, key))


def _type_name(value: Any) -> str:
    return {str: "string", int: "integer", bool: "boolean", dict: "mapping", type(None): "null"}.get(
        type(value), type(value).__name__
    )


def _shorten(value: Any, quote: bool = True) -> str:
    try:
        text = " ".join((repr(value) if quote else str(value)).split())
    except ValueError:
        text = "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
