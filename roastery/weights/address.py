"""What is an address of a checkpoint, and which URL it stands for.

Source: detectron2 0.6, utils/file_io.py (`Detectron2Handler`) and checkpoint/catalog.py, for `detectron2://` and
`catalog://`; MODEL_ZOO.md, for what the digits in a file's name are.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from roastery.address import masked
from roastery.errors import CheckpointError
from roastery.weights.catalog import SCHEME as CATALOG
from roastery.weights.catalog import catalog_path

DETECTRON2_URL = "https://dl.fbaipublicfiles.com/detectron2/"
"""Where detectron2's models are published; ROASTERY_DETECTRON2_URL names another place."""
DETECTRON2_VARIABLE = "ROASTERY_DETECTRON2_URL"

SUFFIXES = (".pkl", ".pth", ".pt", ".safetensors")
"""Of a checkpoint's file."""

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_DETECTRON2 = "detectron2://"
_WEB = ("http", "https")
# Filesystems of fsspec that lie elsewhere. Not its others: they run code, chain, or keep nothing.
_STORES = (
    *("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "hf"),
    *("ftp", "sftp", "ssh", "smb", "webdav", "hdfs", "webhdfs"),
)
SCHEMES = ("detectron2", "catalog", *_WEB, *_STORES, "file")
_ZOO = re.compile(
    rf"{_DETECTRON2}(?:COCO-|LVISv0\.5-|Cityscapes/|PascalVOC-|Misc/|new_baselines/).*/model_final_([0-9a-f]{{6}})\.pkl"
)
_LONGEST_STEM = 80


@dataclass(frozen=True)
class Location:
    """Where a checkpoint lies.

    Attributes:
        address: as it was asked for, without a secret in it: what is told.
        url: what is fetched. It may hold a secret.
        name: of the file, fit for any folder.
        md5: the first digits that the file's MD5 has, where its name says them.
    """

    address: str
    url: str
    name: str
    md5: str | None = None

    @property
    def is_web(self) -> bool:
        return urlsplit(self.url).scheme in _WEB


def is_address(text: str) -> bool:
    """Whether weights are named by an address, which are fetched, and not by a path."""
    return _ADDRESS.match(text) is not None


def local_file(address: str) -> Path | None:
    """The path that a `file://` address is; None of any other.

    Raises:
        CheckpointError: it is of another machine.
    """
    if not address.startswith("file://"):
        return None
    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost"):
        raise CheckpointError(f"{masked(address)}: names another machine; write file:///PATH")
    return Path(unquote(parts.path))


def check_address(address: str) -> None:
    """Refuse an address that could not be fetched whatever lies there.

    Raises:
        CheckpointError: another scheme, addresses in one another, or a name that is no checkpoint's.
    """
    scheme = _ADDRESS.match(address)
    if scheme is None or scheme[1] not in SCHEMES:
        raise CheckpointError(
            f"{masked(address)}: is no address that is fetched; use one of {'://, '.join(SCHEMES)}://"
        )
    if "::" in address:
        raise CheckpointError(f"{masked(address)}: chains addresses with '::'; name the file itself")
    if not address.isprintable() or " " in address:
        raise CheckpointError(f"{masked(address)}: has characters that no address has; write them as %20 and so on")
    if local_file(address) is None:
        locate(address)


def locate(address: str) -> Location:
    """Where an address leads.

    Raises:
        CheckpointError: a name that the catalog does not have, or that is no checkpoint's.
    """
    url = address
    if address.startswith(_DETECTRON2):
        url = _detectron2_url() + address.removeprefix(_DETECTRON2)
    elif address.startswith(CATALOG):
        # Detectron's own models are published beside detectron2's.
        url = f"{_detectron2_url().rstrip('/').rpartition('/')[0]}/detectron/{catalog_path(address)}"
    try:
        parts = urlsplit(url)
    except ValueError:
        raise CheckpointError(f"{masked(address)}: is not a whole address; correct it") from None
    # Only in the web is what follows a '?' or a '#' no part of the name.
    path = parts.path if parts.scheme in _WEB else url
    return Location(masked(address), url, _file_name(unquote(path), masked(address)), _zoo_md5(address))


def publishes_zoo() -> bool:
    """Whether `detectron2://` is the public place, and not another that is set."""
    return _detectron2_url() == DETECTRON2_URL


def _detectron2_url() -> str:
    return f"{(os.environ.get(DETECTRON2_VARIABLE) or DETECTRON2_URL).rstrip('/')}/"


def _file_name(path: str, address: str) -> str:
    """The last part of a path as a plain file name that keeps its suffix."""
    name = path.rsplit("/", 1)[-1]
    suffix = Path(name).suffix
    if suffix not in SUFFIXES:
        raise CheckpointError(f"{address}: is not a checkpoint by its name; use one of {', '.join(SUFFIXES)}")
    stem = re.sub(r"[^A-Za-z0-9_.-]", "_", name.removesuffix(suffix)).lstrip(".-")
    return f"{stem[:_LONGEST_STEM] or 'checkpoint'}{suffix}"


def _zoo_md5(address: str) -> str | None:
    named = _ZOO.fullmatch(address)
    return named[1] if named else None
