"""COCO's JSON read as a stranger's file: what every kind of COCO annotations has, checked before it is used."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from roastery.errors import DatasetError
from roastery.regular_file import require_regular

MAX_BYTES = 1 << 30
"""COCO's own largest file, instances_train2017.json, is 448 MB."""
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def read_json(path: Path) -> Mapping[str, Any]:
    """The file's one object.

    Raises:
        DatasetError: a file that is missing, no plain file, too large, or not an object in JSON.
    """
    try:
        require_regular(path)
        if path.stat().st_size > MAX_BYTES:
            raise DatasetError(f"{path}: is larger than {MAX_BYTES >> 20} MB; split the dataset")
        content = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); give COCO annotations in JSON") from None
    except (ValueError, RecursionError) as error:
        # JSONDecodeError and UnicodeDecodeError are ValueErrors; nesting without end is a RecursionError.
        raise DatasetError(f"{path}: is not JSON ({error}); give COCO annotations in JSON") from None
    if not isinstance(content, dict):
        malformed(path, "it is not an object with 'images', 'annotations' and 'categories'")
    return content


def entries_of(content: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    """The list `key`, which has an object at least.

    Raises:
        DatasetError: it is no such list.
    """
    entries = content.get(key)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        malformed(path, f"'{key}' is not a list with at least one object in it")
    return entries


def check_ids(entries: Sequence[Mapping[str, Any]], key: str, path: Path) -> None:
    """Checks that each has an "id", an integer of 64 bits, of its own.

    Raises:
        DatasetError: one has not.
    """
    seen: set[int] = set()
    for entry in entries:
        identity = entry.get("id")
        if type(identity) is not int or not -(1 << 63) <= identity < 1 << 63:
            malformed(path, f"an entry of '{key}' has the id {str(identity)[:40]!r}, not an integer of 64 bits")
        if identity in seen:
            malformed(path, f"the id {identity} occurs twice in '{key}'")
        seen.add(identity)


def category_names(content: Mapping[str, Any], path: Path) -> dict[int, str]:
    """Category id to name, in the file's order.

    Raises:
        DatasetError: no categories, an id that is no integer or occurs twice, or a category without a name.
    """
    categories = entries_of(content, "categories", path)
    check_ids(categories, "categories", path)
    for category in categories:
        if not is_text(category.get("name")):
            malformed(path, f"category {category['id']} has no name")
    return {category["id"]: category["name"] for category in categories}


def is_text(value: Any) -> TypeGuard[str]:
    """Whether it is a string that UTF-8 can write: JSON can also hold halves of a character."""
    return isinstance(value, str) and not _SURROGATE.search(value)


def is_file_name(value: Any) -> TypeGuard[str]:
    """Whether it could name a file, wherever that may lie."""
    return is_text(value) and bool(value) and "\0" not in value


def malformed(path: Path, problem: str) -> NoReturn:
    """Refuses the annotations for `problem`.

    Raises:
        DatasetError: always.
    """
    raise DatasetError(f"{path}: {problem}; correct the annotations")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which JSON does not have")
