"""What a report says of AP: what the gate judged, every metric and class, and the curves."""

from collections.abc import Sequence

from roastery.evaluation.gate import GatePolicy, main_metric
from roastery.report.curves import Curve
from roastery.report.document import MARKS, Block, Cell, Column, Gallery, Heading, Picture, Prose, Section, Table
from roastery.report.figures import NONE, difference_cell, distance, figure, number
from roastery.report.names import METRIC_NAMES, RUNTIME_NAMES, in_words, iou_type_name, runtime_name
from roastery.results import Evaluation, Finder

_OF_CLASSES = ("AP-", "IoU-", "ACC-")
_FEW_CLASSES = 10


def judged(evaluation: Evaluation, gate: GatePolicy) -> Section:
    """What the gate looked at, for each runtime."""
    rows = []
    for runtime, verdict in evaluation.verdicts.items():
        name = Cell(runtime_name(runtime))
        for iou_type in _iou_types(evaluation):
            main = main_metric(iou_type)
            before, after = (_metric(evaluation, finder, iou_type, main) for finder in ("original", runtime))
            delta = difference_cell(main, before, after, gate, 3)
            figures = [Cell(figure(before, 3)), Cell(figure(after, 3)), delta]
            rows.append([name, Cell(f"{iou_type_name(iou_type)} {main}"), _verdict(delta.tone == "good"), *figures])
        nothing = [Cell(NONE)] * 3
        for parity in evaluation.parity:
            if parity.runtime == runtime:
                rows.append(
                    [name, Cell(f"tensors on {count(parity.images, 'image')}"), _verdict(parity.passed), *nothing]
                )
        rows.append([name, Cell("altogether"), _verdict(verdict.passed), *nothing])
    columns = [Column(title, "text") for title in ("runtime", "what", "verdict")]
    columns += [Column(title) for title in ("original", "converted", "difference")]
    table = Table("What the gate judged", columns, rows)
    return Section("Verdict", "verdict", [Prose(_gate_in_words(gate)), table])


def accuracy(evaluation: Evaluation, gate: GatePolicy) -> Section:
    """AP by IoU type, metric and class: the original beside each runtime."""
    runtimes = [finder for finder in RUNTIME_NAMES if finder in evaluation.metrics]
    columns = [Column("metric", "text"), Column("original")]
    for runtime in runtimes:
        columns += [Column(runtime_name(runtime)), Column("difference")]
    blocks: list[Block] = []
    for iou_type in _iou_types(evaluation):
        names = _metric_names(evaluation, iou_type)
        metrics = [name for name in names if not name.startswith(_OF_CLASSES)]
        classes = [name for name in names if name.startswith(_OF_CLASSES)]
        kind, caption, many = iou_type_name(iou_type).capitalize(), "each class", len(classes) > _FEW_CLASSES
        if many:
            classes = _worst_first(classes, evaluation, iou_type, runtimes)
            caption = "each class, those that differ most first"
        main = main_metric(iou_type)
        blocks.append(Heading(f"{kind} {main}"))
        standard = "COCO's metrics" if main == "AP" else "detectron2's metrics"
        for title, rows_of, long in ((standard, metrics, False), (caption, classes, many)):
            rows = [_row(name, evaluation, iou_type, runtimes, gate) for name in rows_of]
            if rows:
                folded = f"{kind} {main} of {len(rows)} classes{_how_many_marked(rows)}" if long else ""
                blocks.append(Table(f"{kind} {main}, {title}", columns, rows, folded))
    tones = {cell.tone for block in blocks if isinstance(block, Table) for row in block.rows for cell in row}
    if tones & {"bad", "notable"}:
        words = (
            f"{MARKS['bad']} the gate failed on it. {MARKS['notable']} as far off, though the gate does not judge it."
        )
        blocks.insert(0, Prose(words))
    return Section("AP", "ap", blocks)


def curves(drawn: Sequence[Curve]) -> Section:
    """Precision over recall, drawn."""
    words = (
        "Precision over recall, the mean over all classes. The converted model's curve is drawn over the original's; "
        "below is by how many points it differs. The area under a curve is its AP, here the original's."
    )
    pictures = [
        Picture(
            path=curve.path,
            alt=f"Precision over recall of {iou_type_name(curve.iou_type)} detections at "
            f"{', '.join(METRIC_NAMES.values())}: {', '.join(runtime_name(finder) for finder in curve.finders)}",
            caption=f"{iou_type_name(curve.iou_type).capitalize()} detections",
        )
        for curve in drawn
    ]
    return Section("Precision and recall", "curves", [Prose(words), Gallery(pictures)] if pictures else [])


def headline(evaluation: Evaluation) -> str:
    """The verdict in one sentence."""
    if not evaluation.verdicts:
        return "No runtime judged the converted model."
    if not evaluation.passed:
        failed = [runtime for runtime, verdict in evaluation.verdicts.items() if not verdict.passed]
        return f"The converted model did not pass the gate in {in_words(failed)}."
    figures = []
    for iou_type in _iou_types(evaluation):
        main = main_metric(iou_type)
        before, after = (_metric(evaluation, finder, iou_type, main) for finder in ("original", evaluation.judged_by))
        figures.append(f"{iou_type_name(iou_type)} {main} {figure(after)} beside {figure(before)}")
    return f"As good as its original in {in_words([evaluation.judged_by])}: {', '.join(figures)}."


def count(amount: int, thing: str) -> str:
    return f"{amount} {thing}" if amount == 1 else f"{amount} {thing}s"


def _gate_in_words(gate: GatePolicy) -> str:
    way = "either way" if gate.two_sided else "downwards"
    parity = "the tensors must agree" if gate.require_parity else "parity is not asked for"
    return (
        f"The gate: AP may differ by {gate.max_ap_delta:g} {way}, {parity}, and every image and every figure that the "
        "original has must be there."
    )


def _verdict(passed: bool) -> Cell:
    return Cell("passed", "good") if passed else Cell("failed", "bad")


def _row(name: str, evaluation: Evaluation, iou_type: str, runtimes: Sequence[Finder], gate: GatePolicy) -> list[Cell]:
    before = _metric(evaluation, "original", iou_type, name)
    row = [Cell(name.removeprefix("AP-")), Cell(figure(before))]
    for runtime in runtimes:
        after = _metric(evaluation, runtime, iou_type, name)
        row += [Cell(figure(after)), difference_cell(name, before, after, gate)]
    return row


def _how_many_marked(rows: Sequence[Sequence[Cell]]) -> str:
    marked = sum(any(MARKS[cell.tone] for cell in row) for row in rows)
    return f", {marked} marked" if marked else ""


def _worst_first(
    classes: Sequence[str], evaluation: Evaluation, iou_type: str, runtimes: Sequence[Finder]
) -> list[str]:
    def furthest(name: str) -> float:
        before = _metric(evaluation, "original", iou_type, name)
        others = [_metric(evaluation, runtime, iou_type, name) for runtime in runtimes]
        # Rounded, so that noise does not sort.
        return max((round(distance(before, after), 2) for after in others), default=0.0)

    return sorted(classes, key=lambda name: -furthest(name))


def _iou_types(evaluation: Evaluation) -> list[str]:
    return list(dict.fromkeys(iou_type for types in evaluation.metrics.values() for iou_type in types))


def _metric_names(evaluation: Evaluation, iou_type: str) -> list[str]:
    return list(dict.fromkeys(name for types in evaluation.metrics.values() for name in types.get(iou_type, {})))


def _metric(evaluation: Evaluation, finder: Finder, iou_type: str, name: str) -> float | None:
    return number(evaluation.metrics.get(finder, {}).get(iou_type, {}).get(name))
