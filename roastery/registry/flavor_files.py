"""The files of a model in MLflow's format: put in place as they are, told in MLmodel, checked when they are read."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from roastery.data.vocabulary import Vocabulary
from roastery.digest import file_sha256
from roastery.errors import ModelFileError
from roastery.regular_file import require_regular
from roastery.safe_yaml import read_yaml
from roastery.targets import TargetName, target_of
from roastery.targets.target import Target

FLAVOR_NAME = "roastery"
MODEL_FILE = "MLmodel"
VOCABULARY_FILE = "vocabulary.json"

_LONGEST_NAME = 256
_MOST_CLASSES = 65_536
_MOST_BYTES = 16 << 20
"""Of a vocabulary: more than its classes take."""

_Name = Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Id = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
_Checked = TypeVar("_Checked", bound="_Strict")


class _Strict(BaseModel):
    # What a later version adds is passed over.
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class FlavorEntry(_Strict):
    """What MLmodel says of a model under `flavors: roastery`.

    Attributes:
        target: what it was converted to; Caffe2, where an older Roastery saved it.
        batch: how many images it takes at once.
        runtime: what runs it where nothing else is asked for.
        files: name to sha256; `vocabulary.json` is among them where classes have names.
    """

    roastery_version: _Name
    meta_architecture: _Name
    target: TargetName = "caffe2"
    batch: Annotated[int, Field(ge=1)]
    runtime: _Name
    files: dict[_Name, _Sha256]

    @model_validator(mode="after")
    def _is_of_its_target(self) -> "FlavorEntry":
        target = target_of(self.target)
        if self.runtime not in target.runtimes:
            raise ValueError(f"runtime {self.runtime!r} is none of {target.title}")
        if foreign := sorted(self.files.keys() - target.kept - {VOCABULARY_FILE}):
            raise ValueError(f"files: {foreign[0]!r} is no file of a {target.title} model")
        if missing := [name for name in target.files if name not in self.files]:
            raise ValueError(f"files: names no {missing[0]}")
        return self


class _Classes(_Strict):
    """`vocabulary.json`."""

    # JSON has lists alone, so that a strict tuple would never be read.
    class_names: Annotated[list[_Name], Field(max_length=_MOST_CLASSES)]
    category_ids: Annotated[list[_Id], Field(max_length=_MOST_CLASSES)]


def place_files(source: Path, folder: Path, target: Target) -> None:
    """Put a converted model's files into a folder, byte for byte: as hard links, or as copies where that cannot be.

    Raises:
        ModelFileError: a file that is missing, or that is no plain file.
    """
    for name in (*target.files, *target.extras):
        file = source / name
        if name not in target.files and not file.exists():
            continue
        try:
            require_regular(file)
            link_or_copy(file.resolve(), folder / name)
        except OSError as error:
            raise ModelFileError(f"{file}: {error.strerror or error}; a converted model is a folder with it") from error


def digests(folder: Path, target: Target) -> dict[str, str]:
    """The sha256 of each of the model's files that is there."""
    names = (*target.files, *target.extras, VOCABULARY_FILE)
    return {name: file_sha256(folder / name) for name in names if (folder / name).exists()}


def write_vocabulary(vocabulary: Vocabulary, folder: Path) -> None:
    """Write names and category ids of the classes of things. Nothing is written where no names are known.

    Raises:
        ModelFileError: a name that is empty or endless, or names and ids that do not fit together.
    """
    if not vocabulary.source:
        return
    said = {"class_names": list(vocabulary.names), "category_ids": list(vocabulary.category_ids)}
    file = folder / VOCABULARY_FILE
    _fitting(_checked(_Classes, said, vocabulary.source), vocabulary.source)
    file.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def read_vocabulary(folder: Path, entry: FlavorEntry) -> Vocabulary:
    """The names that were saved with a model; where none were, numbers.

    Raises:
        ModelFileError: the file is damaged, malformed or not the one that was saved.
    """
    if VOCABULARY_FILE not in entry.files:
        return Vocabulary()
    file = folder / VOCABULARY_FILE
    check_files(folder, entry, [VOCABULARY_FILE])
    if file.stat().st_size > _MOST_BYTES:
        raise ModelFileError(f"{file}: is larger than {_MOST_BYTES >> 20} MB; save the model again")
    try:
        said = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{file}: is not JSON ({error}); save the model again") from None
    return _fitting(_checked(_Classes, said, str(file)), str(file))


def read_entry(folder: Path) -> FlavorEntry:
    """What MLmodel says of the model.

    Raises:
        ModelFileError: no MLmodel, or one that is malformed or of a model of another flavor.
    """
    file = folder / MODEL_FILE
    try:
        said = read_yaml(file)
    except OSError as error:
        raise ModelFileError(f"{file}: {error.strerror or error}; name a model that MLflow saved") from None
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ModelFileError(f"{file}: is no plain YAML ({reason}); save the model again") from None
    flavors = said.get("flavors") if isinstance(said, dict) else None
    if not isinstance(flavors, dict) or FLAVOR_NAME not in flavors:
        raise ModelFileError(f"{file}: has no flavor {FLAVOR_NAME!r}; name a model that Roastery saved")
    return _checked(FlavorEntry, flavors[FLAVOR_NAME], str(file))


def check_files(folder: Path, entry: FlavorEntry, names: Sequence[str] = ()) -> None:
    """Check that files are those that MLmodel names.

    Args:
        names: of the files; none: those that the model is loaded from.

    Raises:
        ModelFileError: one is missing, no plain file or another.
    """
    known: Mapping[Any, str] = entry.files
    for name in names or target_of(entry.target).files:
        file = folder / name
        try:
            require_regular(file)
            found = file_sha256(file)
        except OSError as error:
            raise ModelFileError(f"{file}: {error.strerror or error}; save the model again") from error
        if found != known[name]:
            raise ModelFileError(f"{file}: is not the file that {MODEL_FILE} names; save the model again")


def link_or_copy(source: Path, target: Path) -> None:
    """The same file under another name; a copy where it cannot be."""
    try:
        os.link(source, target)
    except OSError:
        # On another file system, on one without links, or another user's file.
        shutil.copyfile(source, target)


def _checked(kind: type[_Checked], said: Any, place: str) -> _Checked:
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise ModelFileError(f"{place}: {where}: {first['msg']}; save the model again") from None


def _fitting(classes: _Classes, source: str) -> Vocabulary:
    if len(classes.class_names) != len(classes.category_ids) or not classes.class_names:
        raise ModelFileError(
            f"{source}: has {len(classes.class_names)} class names and {len(classes.category_ids)} category ids; "
            "give one of each for each class"
        )
    return Vocabulary(source, tuple(classes.class_names), tuple(classes.category_ids))
