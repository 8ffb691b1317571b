"""manifest.json of a converted model: what it was made from, by what, what lies beside it, and the verdict."""

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

import roastery
from roastery.config import dump_config, family
from roastery.digest import file_sha256
from roastery.results import Evaluation, ParitySummary
from roastery.spec import SourceKind
from roastery.targets import TARGETS, target_of
from roastery.targets.target import Description, Target

ONNX_FILE = "model.onnx"
PROGRAM_FILE = "model.pt2"
MANIFEST_FILE = "manifest.json"
FILES = frozenset({PROGRAM_FILE, MANIFEST_FILE}.union(*(target_of(name).kept for name in TARGETS)))
"""All that a conversion may leave, whatever its target is."""

# Parity stands beside the evaluation; latencies differ from run to run, and the same inputs give the same manifest.
_NOT_REPEATED = {"parity", "latency"}
_PACKAGES = ("torch", "onnx", "onnx-ir", "onnxscript", "numpy", "Pillow", "protobuf", "pycocotools")


@dataclass(frozen=True)
class ReadFrom:
    """The config and the checkpoint that were converted."""

    config: CfgNode
    weights_file: str
    weights_sha256: str
    weights_bytes: int
    kind: SourceKind = "native"
    runs_code: tuple[str, ...] = ()
    """What of the user's was run to build it: a LazyConfig, custom modules."""

    @property
    def config_sha256(self) -> str:
        """The digest of the whole config, without the places where its author kept things."""
        config = self.config.clone()
        config.defrost()
        config.MODEL.WEIGHTS, config.OUTPUT_DIR = "", ""
        return hashlib.sha256(dump_config(config).encode()).hexdigest()


def write_manifest(
    directory: Path,
    target: Target,
    described: Description,
    source: ReadFrom,
    parity: Sequence[ParitySummary],
    evaluation: Evaluation | None,
) -> dict[str, int]:
    """Write `manifest.json` beside the files that it describes.

    Returns:
        Name to bytes of every file in the folder.
    """
    files = sorted(path for path in directory.iterdir())
    content: dict[str, Any] = {
        "format": 1,
        "target": target.name,
        "meta_architecture": family(source.config),
        "source": {
            "kind": source.kind,
            "runs_code": list(source.runs_code),
            "config_sha256": source.config_sha256,
            "weights": source.weights_file,
            "weights_bytes": source.weights_bytes,
            "weights_sha256": source.weights_sha256,
        },
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in files},
        "net": {
            "inputs": list(described.inputs),
            "outputs": list(described.outputs),
            "arguments": dict(described.arguments),
            "operators": dict(described.operators),
        },
        "verdict": {
            "passed": all(summary.passed for summary in parity) and (evaluation is None or evaluation.passed),
            "parity": [summary.model_dump(mode="json") for summary in parity],
            "evaluation": None if evaluation is None else evaluation.model_dump(mode="json", exclude=_NOT_REPEATED),
        },
        "versions": versions(),
    }
    (directory / MANIFEST_FILE).write_text(
        json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8"
    )
    return {path.name: path.stat().st_size for path in sorted(directory.iterdir())}


def versions() -> dict[str, str]:
    """Of Roastery, Python and the packages that decide what a conversion gives."""
    packages = {package: metadata.version(package) for package in _PACKAGES}
    return {"roastery": roastery.__version__, "python": platform.python_version(), **packages}
