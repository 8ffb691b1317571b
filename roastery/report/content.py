"""What a report says, in the order in which it says it. How it looks is for `markdown` and `page`."""

from collections.abc import Sequence
from pathlib import PurePath

from roastery.evaluation.gate import GatePolicy
from roastery.report.accuracy import accuracy, count, curves, headline, judged
from roastery.report.command import reproducing_command
from roastery.report.curves import Curve
from roastery.report.document import (
    Block,
    Cell,
    Column,
    Command,
    Document,
    Gallery,
    Heading,
    Listing,
    Picture,
    Prose,
    Section,
    Table,
    Tally,
)
from roastery.report.facts import ReportFacts
from roastery.report.figures import NONE
from roastery.report.files import CONFIG_FILE
from roastery.report.names import in_words, runtime_name
from roastery.report.pictures import SHOWN_SCORE, Comparison
from roastery.results import Evaluation, StageTiming
from roastery.targets import target_of
from roastery.weights.address import is_address

_LISTED = 10


def compose(
    evaluation: Evaluation, facts: ReportFacts, comparisons: Sequence[Comparison], drawn_curves: Sequence[Curve]
) -> Document:
    """The report of a conversion.

    Args:
        comparisons: what the models found, the worst disagreement first.
        drawn_curves: precision over recall, for each IoU type.
    """
    sections = [
        judged(evaluation, facts.gate),
        accuracy(evaluation, facts.gate),
        curves(drawn_curves),
        _side_by_side(comparisons, evaluation),
        _failed_images(evaluation),
        _parity(evaluation),
        _latency(evaluation),
        _stages(facts.timings),
        _layers(facts),
        _net(facts),
        _provenance(evaluation, facts),
        _reproduction(evaluation, facts),
    ]
    reasons = [
        f"{runtime_name(runtime)}: {reason}"
        for runtime, verdict in evaluation.verdicts.items()
        for reason in verdict.reasons
    ]
    return Document(
        title=evaluation.model,
        passed=evaluation.passed,
        headline=headline(evaluation),
        reasons=_listing(reasons),
        lead=_lead(evaluation, facts),
        sections=[section for section in sections if section.blocks],
    )


def _lead(evaluation: Evaluation, facts: ReportFacts) -> str:
    original = "detectron2 itself" if evaluation.original_kind == "detectron2" else "Roastery's reference of detectron2"
    kind = f" ({facts.meta_architecture})" if facts.meta_architecture else ""
    title = target_of(facts.target).title
    return (
        f"The {title} model{kind} beside its original, on the same {count(evaluation.images, 'image')} of "
        f"{evaluation.dataset} in the same run. The original was {original}. The gate judged it in "
        f"{in_words(evaluation.verdicts) or 'no runtime'}."
    )


def _side_by_side(comparisons: Sequence[Comparison], evaluation: Evaluation) -> Section:
    found_by = ", ".join(runtime_name(target) for target in evaluation.metrics)
    pictures = [
        Picture(
            path=comparison.path,
            alt=f"{comparison.file}, detections of: {found_by}",
            caption=f"{comparison.file}: disagreement {comparison.disagreement:.3f}",
        )
        for comparison in comparisons
    ]
    agree = all(round(comparison.disagreement, 3) == 0 for comparison in comparisons)
    order = "The models agree on every image; these have most in them" if agree else "The largest disagreement first"
    words = f"{order}. Drawn are detections with a score of at least {SHOWN_SCORE}; all count."
    return Section("Side by side", "side-by-side", [Prose(words), Gallery(pictures)] if pictures else [])


def _failed_images(evaluation: Evaluation) -> Section:
    failed = evaluation.failed_images
    return Section("Images that failed", "failed-images", [_listing(failed)] if failed else [])


def _parity(evaluation: Evaluation) -> Section:
    outputs = list(dict.fromkeys(name for parity in evaluation.parity for name in parity.largest))
    rows = [
        [
            Cell(runtime_name(parity.runtime)),
            Cell(str(parity.images)),
            *(Cell(f"{parity.largest[name]:.2g}" if name in parity.largest else NONE) for name in outputs),
            Cell("passed", "good") if parity.passed else Cell("failed", "bad"),
        ]
        for parity in evaluation.parity
    ]
    words = (
        "The largest difference of the net's outputs from the traced detector's: boxes in pixels, scores absolute, "
        "maps relative to their largest value."
    )
    columns = [Column("runtime", "text"), *(Column(title) for title in ("images", *outputs, "verdict"))]
    blocks: list[Block] = [Prose(words), Table("Parity of the tensors", columns, rows)] if rows else []
    for parity in evaluation.parity:
        if parity.differences:
            blocks += [Heading(f"What differs in {in_words([parity.runtime])}"), _listing(parity.differences)]
    return Section("Parity", "parity", blocks)


def _latency(evaluation: Evaluation) -> Section:
    slowest = max((latency.median_ms for latency in evaluation.latency.values()), default=0.0)
    rows = [
        [
            Cell(runtime_name(target)),
            Cell(f"{latency.median_ms:.1f}", share=_share(latency.median_ms, slowest)),
            Cell(f"{latency.p90_ms:.1f}"),
            Cell(str(latency.images)),
        ]
        for target, latency in evaluation.latency.items()
    ]
    columns = [Column("model", "text"), Column("median"), Column("90 %"), Column("images")]
    return Section("Latency", "latency", [Table("Milliseconds an image", columns, rows)] if rows else [])


def _stages(timings: Sequence[StageTiming]) -> Section:
    longest = max((timing.seconds for timing in timings), default=0.0)
    largest = max((timing.peak_memory_mb for timing in timings), default=0.0)
    rows = [
        [
            Cell(timing.stage),
            Cell(f"{timing.seconds:.1f}", share=_share(timing.seconds, longest)),
            Cell(f"{timing.peak_memory_mb:.0f}", share=_share(timing.peak_memory_mb, largest)),
            Cell("yes" if timing.cached else "no"),
        ]
        for timing in timings
    ]
    words = (
        "What each stage took when it was done. A stage that was found in the store was not done again. What report, "
        "which writes this, and log take is not known yet."
    )
    columns = [Column("stage", "text"), *(Column(title) for title in ("seconds", "peak memory, MB", "from the store"))]
    return Section("Stages", "stages", [Prose(words), Table("Cost of the stages", columns, rows)] if rows else [])


def _layers(facts: ReportFacts) -> Section:
    rows = [[Cell(each.layer), Cell(each.operator), Cell(f"{each.error:.2%}")] for each in facts.layers]
    words = (
        "How far the values of a layer are, on the sample, from those of the same layer in float32: the root mean "
        "square of the difference over that of the values. The worst first; a layer that is named in `float_layers` "
        "stays float32."
    )
    columns = [Column("layer", "code"), Column("operator", "text"), Column("error")]
    table = Table("The worst layers", columns, rows)
    return Section("What rounding cost", "layers", [Prose(words), table] if rows else [])


def _net(facts: ReportFacts) -> Section:
    blocks: list[Block] = []
    if facts.operators:
        ordered = sorted(facts.operators.items(), key=lambda item: (-item[1], item[0]))
        total = sum(facts.operators.values())
        blocks.append(Tally(f"{count(total, 'operator')} of {count(len(ordered), 'type')}", ordered))
    if facts.sizes:
        rows = [
            [Cell(name), Cell(f"{size / 1e6:.2f}"), Cell(facts.digests.get(name, NONE))]
            for name, size in facts.sizes.items()
        ]
        blocks.append(Table("Files", [Column("file", "text"), Column("MB"), Column("sha256", "code")], rows))
    return Section("The net", "net", blocks)


def _provenance(evaluation: Evaluation, facts: ReportFacts) -> Section:
    digests = {**facts.sources, f"dataset {evaluation.dataset}": evaluation.dataset_sha256}
    blocks: list[Block] = []
    for caption, title, values in (
        ("What it was made from", "sha256", digests),
        ("What it was made with", "version", facts.versions),
    ):
        if values:
            rows = [[Cell(name), Cell(value)] for name, value in values.items()]
            blocks.append(Table(caption, [Column("what", "text"), Column(title, "code")], rows))
    return Section("Provenance", "provenance", blocks)


def _reproduction(evaluation: Evaluation, facts: ReportFacts) -> Section:
    runtimes = tuple(evaluation.verdicts)
    if not (facts.weights and runtimes):
        return Section("Reproduce it", "reproduce", [])
    genuine = " It needs genuine Caffe2." if "caffe2" in runtimes else ""
    checkpoint = "" if is_address(facts.weights) else f", the checkpoint {PurePath(facts.weights).name}"
    config = f"{CONFIG_FILE} (it lies beside this report)"
    if facts.source is not None:
        config = f"the config {PurePath(facts.source.config).name} with what it builds on"
        config += f", the modules {', '.join(facts.source.custom_modules)}" if facts.source.custom_modules else ""
    words = (
        f"Run this in a folder that holds {config}{checkpoint} and "
        f"configs/datasets/, in which {evaluation.dataset} is registered. It gives the same files, by their digests, "
        f"and the same AP.{genuine}"
    )
    blocks: list[Block] = [
        Prose(words),
        Command(
            reproducing_command(facts.weights, evaluation.dataset, runtimes, facts.export, facts.source, facts.target)
        ),
    ]
    if facts.gate != GatePolicy():
        blocks.append(Prose("Its verdict is that of the default gate, which is not the one that judged here."))
    return Section("Reproduce it", "reproduce", blocks)


def _share(value: float, largest: float) -> float:
    return value / largest if largest > 0 else 0.0


def _listing(sentences: Sequence[str]) -> Listing:
    rest = len(sentences) - _LISTED
    return Listing(sentences[:_LISTED], f"and {rest} more, in evaluation.json" if rest > 0 else "")
