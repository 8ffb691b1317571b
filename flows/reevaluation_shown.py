"""What the Prefect UI shows of a re-evaluation: `reevaluation-<model>`, in Markdown."""

from prefect.artifacts import create_markdown_artifact

from flows.shown import slug, unimportant
from roastery.results import ModelSummary


def show_reevaluation(summary: ModelSummary) -> None:
    """The figures of the original and of the converted model, or why there are none."""
    lines = [f"# {summary.model}.caffe2 again: {summary.ended}"]
    if summary.figures:
        rows = ["| figure | original | converted | difference |", "|---|---|---|---|"]
        for figure in summary.figures:
            values = (figure.original, figure.converted, figure.difference)
            shown = " | ".join("-" if value is None else f"{value:.2f}" for value in values)
            rows.append(f"| {figure.iou_type} {figure.metric} | {shown} |")
        lines.append("\n".join(rows))
    # Indented: code, and nothing else to Markdown.
    lines += [f"    {reason}" for reason in summary.reasons]
    if summary.failure is not None:
        lines.append(f"    {summary.failure.stage}: {summary.failure.reason}")
    filed = summary.registered
    if filed is not None:
        lines.append(f"[Version {filed.version} of {filed.name}]({filed.run_url})")
    with unimportant():
        create_markdown_artifact(
            "\n\n".join(lines),
            key=f"reevaluation-{slug(summary.model)}",
            description=f"{summary.model}.caffe2: {summary.ended}",
        )
