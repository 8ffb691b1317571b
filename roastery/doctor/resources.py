"""Disks, memory and cores: what a conversion takes of them."""

import os
import shutil
from pathlib import Path

from roastery.doctor.finding import Finding
from roastery.machine import MEMORY_OF_A_MODEL, cores, memory_available, processes_and_threads
from roastery.spec import PipelineConfig

ENOUGH_SPACE = 5 << 30
"""Below it a disk is warned of. A full-size model's artifacts are three copies of its weights (model.pt2, model.onnx,
model_init.pb), and the registry keeps two more: 0.9 GB of Mask R-CNN with a ResNet-50 (44 million numbers of four
bytes), twice as much with a ResNeXt-101."""


def look_at_disk(name: str, folder: Path) -> Finding:
    """How much space is left where a folder is, or would be."""
    there = nearest(folder)
    free = shutil.disk_usage(there).free
    found = f"{free / 2**30:.1f} GiB free in {there}"
    if free >= ENOUGH_SPACE:
        return Finding(name, "ok", found)
    return Finding(
        name,
        "warning",
        f"{found}: a full-size model takes 1 to 2 GiB of artifacts and registered files",
        "free some space (`roastery gc` removes artifacts that nobody needs), or name a place on another disk",
    )


def look_at_machine(pipeline: PipelineConfig) -> Finding:
    """Memory and cores that may be used, and how many models at a time a fleet takes."""
    processes, threads = processes_and_threads(pipeline)
    memory = memory_available()
    found = (
        f"{_number(cores(), 'core')}, {memory / 2**30:.1f} GiB of memory free: "
        f"{_number(processes, 'model')} at a time, {_number(threads, 'thread')} each"
    )
    if memory >= processes * MEMORY_OF_A_MODEL:
        return Finding("memory and cores", "ok", found)
    return Finding(
        "memory and cores",
        "warning",
        f"{found}; a full-size model takes up to {MEMORY_OF_A_MODEL / 2**30:g} GiB",
        "end what takes the memory, or set fewer `processes` in pipeline.yaml",
    )


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that is there; it may be a file."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if os.path.lexists(each))
