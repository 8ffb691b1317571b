"""Writing a report into a folder, in both of its forms."""

from collections.abc import Sequence
from pathlib import Path

from roastery.report.content import compose
from roastery.report.curves import Curve
from roastery.report.facts import ReportFacts
from roastery.report.files import MARKDOWN_FILE, PAGE_FILE
from roastery.report.markdown import to_markdown
from roastery.report.page import to_page
from roastery.report.pictures import Comparison
from roastery.results import Evaluation


def write_report(
    directory: Path,
    evaluation: Evaluation,
    facts: ReportFacts | None = None,
    pictures: Sequence[Comparison] = (),
    curves: Sequence[Curve] = (),
) -> Path:
    """Write `report.md` and `report.html` into a folder in which pictures and curves lie already.

    The same arguments give the same bytes: no time of day, no path of the machine.

    Args:
        pictures: as `draw_comparisons` gives them; `curves`: as `draw_curves` does.

    Returns:
        The path of the Markdown form.
    """
    document = compose(evaluation, facts or ReportFacts(), pictures, curves)
    (directory / PAGE_FILE).write_text(to_page(document), encoding="utf-8")
    path = directory / MARKDOWN_FILE
    path.write_text(to_markdown(document), encoding="utf-8")
    return path
