"""What of a conversion lies in its MLflow run, beside the net itself: for people, and for programs that verify."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from roastery.registry.record import main_figures
from roastery.report.command import reproducing_command
from roastery.report.files import CONFIG_FILE, PAGE_FILE, PICTURE_SUFFIXES, STEM
from roastery.results import Conversion, Evaluation
from roastery.targets import target_of

REPORT_FOLDER = "report"
CONVERSION_FILE = "conversion.json"
MANIFEST_FILE = "manifest.json"
COMMAND_FILE = "reproduce.sh"
DRAWING_FILE = "model.svg"
NOTE_TAG = "mlflow.note.content"
"""A run's description in MLflow's pages."""


def texts(conversion: Conversion, files: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Names and contents of the files that say what a conversion is."""
    yield CONVERSION_FILE, conversion.model_dump_json(indent=2) + "\n"
    yield MANIFEST_FILE, json.dumps(manifest(conversion, files), indent=2) + "\n"
    yield COMMAND_FILE, f"#!/bin/sh\n# {CONFIG_FILE} lies in {REPORT_FOLDER}/\n{command(conversion)}\n"


def manifest(conversion: Conversion, files: Mapping[str, Path]) -> dict[str, object]:
    """What the model's files are: name to sha256 and bytes."""
    origins = target_of(conversion.target).origins(conversion.converted, conversion.onnx)
    held = {name: artifact.files[name] for name, artifact in sorted(origins.items()) if name in files}
    return {
        "key": conversion.key,
        "files": {name: {"sha256": digest, "bytes": files[name].stat().st_size} for name, digest in held.items()},
    }


def command(conversion: Conversion) -> str:
    """The command line that makes the same files again."""
    evaluation = conversion.evaluation
    return reproducing_command(
        conversion.resolved.weights,
        evaluation.dataset,
        tuple(evaluation.verdicts),
        conversion.export,
        conversion.resolved.source,
        conversion.target,
    )


def note(conversion: Conversion, links: Mapping[str, str]) -> str:
    """A run's description, in Markdown: verdict, figures, how to make it again, where else it is seen.

    Args:
        links: tags of the run; those that are addresses become links.
    """
    # Indented: code, and nothing else to Markdown.
    again = "\n".join(f"    {line}" for line in command(conversion).splitlines())
    return "\n\n".join([*_judged(conversion.evaluation), again, *_links(links)])


def note_again(evaluation: Evaluation, version: str, links: Mapping[str, str]) -> str:
    """The description of a run that measured a version again.

    Args:
        version: its name and number.
        links: as `note`.
    """
    # Code: a name may have letters that mean something to Markdown.
    return "\n\n".join([f"`{version}`, measured again.", *_judged(evaluation), *_links(links)])


def _judged(evaluation: Evaluation) -> list[str]:
    verdict = "passed" if evaluation.passed else "**failed**"
    lines = [f"{verdict}, judged by {evaluation.judged_by} on {evaluation.images} images of {evaluation.dataset}."]
    # Indented: code, for a reason names files, as others called them.
    lines += [f"    {reason}" for each in evaluation.verdicts.values() for reason in each.reasons[:3]]
    rows = ["| figure | value |", "|---|---|"]
    rows += [f"| {name} | {value:.3f} |" for name, value in main_figures(evaluation).items() if value is not None]
    return [*lines, "\n".join(rows)]


def _links(links: Mapping[str, str]) -> list[str]:
    return [f"[{name}]({link})" for name, link in sorted(links.items()) if link.startswith(("http://", "https://"))]


def report_files(report: Path) -> list[Path]:
    """A report, and of its folder the page, the config that its command starts from, and its pictures."""
    beside = [report.with_name(name) for name in (PAGE_FILE, CONFIG_FILE)]
    for suffix in PICTURE_SUFFIXES:
        beside += sorted(report.parent.glob(f"{STEM}-*{suffix}"))
    return [report, *(path for path in beside if path.is_file())]
