"""What a person reads after a conversion: one Markdown file, with its pictures beside it.

The same arguments give the same bytes: no time of day, no path of the machine.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from roastery.report_pictures import RUNTIME_NAMES, SHOWN_SCORE, Comparison
from roastery.results import Evaluation, StageTiming

REPORT_FILE = "report.md"
_HEADINGS = {"bbox": "box", "segm": "mask", "keypoints": "keypoints"}
_PICTURES_CAPTION = (
    "The images with the largest disagreement first (0: they agree). Drawn are detections with a score of at least "
    f"{SHOWN_SCORE}; all count."
)
_CLASS_ROWS = 10
_LISTED = 10
_NONE = "–"  # noqa: RUF001  (an en dash, as tables have it)


@dataclass(frozen=True)
class ReportFacts:
    """What a report tells beyond the evaluation. What is left empty is left out.

    Attributes:
        operators: type to count, of the predict net.
        sizes: bytes of each file; `digests`: sha256 of each.
        sources: what the conversion was made from, name to digest or text: checkpoint, config, dataset.
        versions: package to version.
    """

    meta_architecture: str = ""
    operators: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    timings: Sequence[StageTiming] = ()


def write_report(
    directory: Path, evaluation: Evaluation, facts: ReportFacts | None = None, pictures: Sequence[Comparison] = ()
) -> Path:
    """Write `report.md` into a folder in which `pictures` lie already (`report_pictures.draw_comparisons`).

    Returns:
        The path of the report.
    """
    facts = facts or ReportFacts()
    sections = [
        _summary(evaluation, facts),
        _accuracy(evaluation),
        _verdicts(evaluation),
        _pictures(pictures),
        _parity(evaluation),
        _latency(evaluation),
        _stages(facts.timings),
        _net(facts),
        _provenance(evaluation, facts),
    ]
    path = directory / REPORT_FILE
    path.write_text("\n\n".join(section for section in sections if section) + "\n", encoding="utf-8")
    return path


def escape(text: str) -> str:
    """Any text as one line of Markdown that reads as it stands, also in a table's cell."""
    line = " ".join(text.split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*\[\]|~$#])", r"\\\1", line)
    # An underscore within a word is only that: `my_model_r50` stays readable in the file itself.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", line)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """A Markdown table; the first columns are text and the others are figures. Cells are escaped already."""
    lines = [header, ["---"] * text_columns + ["---:"] * (len(header) - text_columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _summary(evaluation: Evaluation, facts: ReportFacts) -> str:
    verdict = "passed" if evaluation.passed else "FAILED"
    original = "detectron2 itself" if evaluation.original_kind == "detectron2" else "Roastery's reference of detectron2"
    kind = f" ({escape(facts.meta_architecture)})" if facts.meta_architecture else ""
    lines = [
        f"# {escape(evaluation.model)}: {verdict}",
        f"The Caffe2 model{kind} beside its original, on the same {_count(evaluation.images, 'image')} of "
        f"{escape(evaluation.dataset)} in the same run. The original was {original}; the verdict is that of the "
        f"{RUNTIME_NAMES[evaluation.judged_by]}.",
    ]
    return "\n\n".join(lines)


def _accuracy(evaluation: Evaluation) -> str:
    original = evaluation.metrics.get("original", {})
    runtimes = [target for target in RUNTIME_NAMES if target in evaluation.metrics]
    header = ["metric", "original"]
    for runtime in runtimes:
        header += [RUNTIME_NAMES[runtime], "difference"]
    parts = ["## AP"]
    every_type = dict.fromkeys(iou_type for metrics in evaluation.metrics.values() for iou_type in metrics)
    for iou_type in every_type:
        rows, classes = [], []
        for name in dict.fromkeys(
            name for metrics in evaluation.metrics.values() for name in metrics.get(iou_type, {})
        ):
            before = original.get(iou_type, {}).get(name)
            others = [evaluation.metrics[runtime].get(iou_type, {}).get(name) for runtime in runtimes]
            row = [escape(name), _figure(before)]
            for after in others:
                row += [_figure(after), _difference(before, after)]
            if name.startswith("AP-"):
                classes.append((max((_size(before, after) for after in others), default=0.0), row))
            else:
                rows.append(row)
        parts += [f"### {_HEADINGS.get(iou_type, escape(iou_type))}", table(header, [*rows, *_worst(classes)])]
        if len(classes) > _CLASS_ROWS:
            parts.append(f"Of {len(classes)} classes the {_CLASS_ROWS} that differ most.")
    return "\n\n".join(parts)


def _worst(classes: list[tuple[float, list[str]]]) -> list[list[str]]:
    """All rows in their order where they are few, else those that differ most."""
    if len(classes) <= _CLASS_ROWS:
        return [row for _, row in classes]
    return [row for _, row in sorted(classes, key=lambda entry: -entry[0])[:_CLASS_ROWS]]


def _verdicts(evaluation: Evaluation) -> str:
    parts = ["## Verdict"]
    for runtime, verdict in evaluation.verdicts.items():
        name = RUNTIME_NAMES.get(runtime, runtime)
        parts.append(f"**{name}**: {'passed' if verdict.passed else 'failed'}")
        if verdict.reasons:
            parts.append(_listing(verdict.reasons))
    if evaluation.failed_images:
        parts += ["Images that failed:", _listing(evaluation.failed_images)]
    return "\n\n".join(parts)


def _pictures(pictures: Sequence[Comparison]) -> str:
    if not pictures:
        return ""
    parts = ["## Side by side", _PICTURES_CAPTION]
    for picture in pictures:
        caption = f"{escape(picture.file)}: disagreement {picture.disagreement:.3f}"
        # Only the name: the picture lies beside the report, and both may be moved together.
        parts += [f"![{caption}]({picture.path.name})", caption]
    return "\n\n".join(parts)


def _parity(evaluation: Evaluation) -> str:
    if not evaluation.parity:
        return ""
    outputs = list(dict.fromkeys(name for parity in evaluation.parity for name in parity.largest))
    rows = [
        [
            RUNTIME_NAMES.get(parity.runtime, parity.runtime),
            str(parity.images),
            "passed" if parity.passed else "failed",
            *(f"{parity.largest[name]:.2g}" if name in parity.largest else _NONE for name in outputs),
        ]
        for parity in evaluation.parity
    ]
    parts = [
        "## Parity",
        "The largest difference of the net's outputs from the traced detector's: boxes in pixels, scores absolute, "
        "maps relative to their largest value.",
        table(["runtime", "images", "verdict", *(escape(name) for name in outputs)], rows),
    ]
    for parity in evaluation.parity:
        if parity.differences:
            parts += [f"{RUNTIME_NAMES.get(parity.runtime, parity.runtime)}:", _listing(parity.differences)]
    return "\n\n".join(parts)


def _latency(evaluation: Evaluation) -> str:
    if not evaluation.latency:
        return ""
    rows = [
        [RUNTIME_NAMES.get(target, target), f"{latency.median_ms:.1f}", f"{latency.p90_ms:.1f}", str(latency.images)]
        for target, latency in evaluation.latency.items()
    ]
    return "\n\n".join(["## Latency", table(["milliseconds an image", "median", "90 %", "images"], rows)])


def _stages(timings: Sequence[StageTiming]) -> str:
    if not timings:
        return ""
    rows = [
        [
            escape(timing.stage),
            f"{timing.seconds:.1f}",
            f"{timing.peak_memory_mb:.0f}",
            "yes" if timing.cached else "no",
        ]
        for timing in timings
    ]
    return "\n\n".join(["## Stages", table(["stage", "seconds", "peak memory, MB", "found in the store"], rows)])


def _net(facts: ReportFacts) -> str:
    parts = []
    if facts.operators:
        ordered = sorted(facts.operators.items(), key=lambda item: (-item[1], item[0]))
        total = sum(facts.operators.values())
        listed = ", ".join(f"{escape(kind)} × {count}" for kind, count in ordered)  # noqa: RUF001
        parts.append(f"{_count(total, 'operator')} of {_count(len(ordered), 'type')}: {listed}.")
    if facts.sizes:
        rows = [
            [escape(name), f"{size / 1e6:.2f}", f"`{facts.digests[name]}`" if name in facts.digests else _NONE]
            for name, size in facts.sizes.items()
        ]
        parts.append(table(["file", "MB", "sha256"], rows))
    return "\n\n".join(["## The net", *parts]) if parts else ""


def _provenance(evaluation: Evaluation, facts: ReportFacts) -> str:
    sources = {**facts.sources, "dataset": evaluation.dataset_sha256}
    rows = [[escape(name), escape(value)] for name, value in [*sources.items(), *facts.versions.items()]]
    return "\n\n".join(["## Provenance", table(["what", "sha256 or version"], rows, text_columns=2)])


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _delta(before: float | None, after: float | None) -> float | None:
    one, other = _number(before), _number(after)
    return None if one is None or other is None else other - one


def _figure(value: float | None) -> str:
    return _NONE if _number(value) is None else f"{value:.2f}"


def _difference(before: float | None, after: float | None) -> str:
    delta = _delta(before, after)
    if delta is None:
        return _NONE
    # What rounds to nothing has no sign.
    return f"{delta:+.2f}" if round(delta, 2) else "0.00"


def _size(before: float | None, after: float | None) -> float:
    """How far two figures are apart; one that is no number is further than any."""
    if _number(before) is None and _number(after) is None:
        return 0.0
    delta = _delta(before, after)
    return math.inf if delta is None else abs(delta)


def _listing(lines: Sequence[str]) -> str:
    listed = [f"- {escape(line)}" for line in lines[:_LISTED]]
    rest = len(lines) - _LISTED
    return "\n".join([*listed, f"- and {rest} more"] if rest > 0 else listed)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
