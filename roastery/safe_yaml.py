"""YAML from strangers: plain values only, nothing constructed, nothing that grows when it is read."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from roastery.regular_file import require_regular

MAX_BYTES = 256 * 1024
"""A full detectron2 config is 6 KB."""
MAX_NODES = 100_000
"""Values in a file once its aliases are written out."""
MAX_DEPTH = 32
"""Lists and mappings in each other, aliases written out. What is read is walked, compared and dumped by recursion."""

_MOST_BITS = 4096
_PREFIX = "tag:yaml.org,2002:"
_TUPLE = f"{_PREFIX}python/tuple"
_EVALUATED = f"{_PREFIX}python/object/apply:eval"
# The one expression in detectron2's model zoo (Base-RetinaNet.yaml), and what it gives: it is looked up, not evaluated.
_KNOWN_EXPRESSIONS = {
    "[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]": [
        [size, size * 2 ** (1.0 / 3), size * 2 ** (2.0 / 3)] for size in (32, 64, 128, 256, 512)
    ]
}
_TAGS = {_TUPLE} | {f"{_PREFIX}{name}" for name in ("null", "bool", "int", "float", "str", "merge", "seq", "map")}


class UnsafeYaml(yaml.YAMLError):
    """The file asks for more than plain values. The message is a clause without the file's name."""


class _PlainLoader(yaml.SafeLoader):
    """The safe loader, and tuples: a list with the tag `!!python/tuple`, as yacs writes them."""


def _construct_tuple(loader: _PlainLoader, node: yaml.SequenceNode) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node, deep=True))


def _construct_integer(loader: _PlainLoader, node: yaml.ScalarNode) -> int:
    value: int = loader.construct_yaml_int(node)
    # Python does not write down what it can read: a hexadecimal number of thousands of digits.
    if value.bit_length() > _MOST_BITS:
        raise UnsafeYaml(f"holds a whole number of more than {_MOST_BITS} bits")
    return value


def _construct_known(loader: _PlainLoader, node: yaml.SequenceNode) -> list[list[float]]:
    return deepcopy(_KNOWN_EXPRESSIONS[node.value[0].value])


def _is_known(node: yaml.Node) -> bool:
    """Whether a node asks for an expression to be evaluated whose value is known."""
    if node.tag != _EVALUATED or not isinstance(node, yaml.SequenceNode) or len(node.value) != 1:
        return False
    return isinstance(node.value[0], yaml.ScalarNode) and node.value[0].value in _KNOWN_EXPRESSIONS


_PlainLoader.add_constructor(_TUPLE, _construct_tuple)
_PlainLoader.add_constructor(_EVALUATED, _construct_known)
_PlainLoader.add_constructor(f"{_PREFIX}int", _construct_integer)


def read_yaml(path: Path) -> Any:
    """The one document of a YAML file: dicts, lists, tuples, strings, numbers, booleans and None.

    Raises:
        OSError: the file cannot be read, or is a pipe or a device.
        yaml.YAMLError: it is not YAML; as `UnsafeYaml`, it is too large, too deep, expands too far or has a tag that
            would construct an object. Nothing has been constructed then.
    """
    require_regular(path)
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UnsafeYaml(f"is larger than {MAX_BYTES // 1024} KB")
    loader = _PlainLoader(content)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        # Before anything is constructed: an alias costs nothing to write and doubles what follows it.
        _expanded(node, {}, set())
        return loader.construct_document(node)
    except RecursionError:
        raise UnsafeYaml("is nested too deeply") from None
    except (ValueError, KeyError, IndexError, TypeError) as error:
        # A scalar that its explicit tag does not fit ("!!int abc") fails inside the constructor.
        raise UnsafeYaml(f"holds a value that its tag does not fit ({type(error).__name__})") from None
    finally:
        loader.dispose()


def _expanded(node: yaml.Node, measured: dict[int, tuple[int, int]], open_nodes: set[int]) -> tuple[int, int]:
    """How many values `node` stands for with its aliases written out, and how deep; refuses unknown tags and cycles."""
    if id(node) in measured:
        return measured[id(node)]
    if id(node) in open_nodes:
        raise UnsafeYaml("holds an alias to itself")
    tag = node.tag.replace(f"{_PREFIX}timestamp", f"{_PREFIX}str")
    if tag not in _TAGS and not _is_known(node):
        line = node.start_mark.line + 1 if node.start_mark else 0
        raise UnsafeYaml(
            f"line {line}: the tag '{node.tag.replace(_PREFIX, '!!')}' is not read, since it would run code or "
            "construct an object; write the value itself, or use the config that detectron2 dumps (cfg.dump())"
        )
    node.tag = tag
    open_nodes.add(id(node))
    size, depth = 1, 0
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [child for pair in node.value for child in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    for child in children:
        child_size, child_depth = _expanded(child, measured, open_nodes)
        size, depth = size + child_size, max(depth, child_depth + 1)
        if size > MAX_NODES:
            raise UnsafeYaml(f"expands to more than {MAX_NODES} values")
        if depth > MAX_DEPTH:
            raise UnsafeYaml("is nested too deeply")
    open_nodes.remove(id(node))
    measured[id(node)] = size, depth
    return size, depth
