"""`roastery show`: all that the registry knows of one converted version."""

from collections.abc import Mapping
from typing import Annotated

import typer

from cli.plain import plain
from cli.registry_options import JsonOption, PipelineOption, TrackingOption, open_registry

_CLASSES = ("/AP-", "/IoU-", "/ACC-")


def show(
    name: Annotated[str, typer.Argument(metavar="NAME[/VERSION|@ALIAS]", help="A converted model.")],
    classes: Annotated[bool, typer.Option("--classes", help="AP of each class, too.")] = False,
    json: JsonOption = False,
    pipeline: PipelineOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Show all that is known of a converted version; without a version or an alias, of the newest.

    Examples:

    roastery show mask_rcnn_fpn

    roastery show mask_rcnn_fpn@production

    roastery show mask_rcnn_fpn/3 --json
    """
    answer = open_registry(pipeline, tracking_uri).show(name)
    if json:
        typer.echo(answer.model_dump_json(indent=2))
        return
    from cli.tables import console

    out = console()
    summary = answer.summary
    called = f", called {', '.join(answer.aliases)}" if answer.aliases else ""
    out.print(f"[bold]{plain(answer.name)}[/bold] version {answer.version}{plain(called)}", highlight=False)
    rows = {
        "verdict": f"{summary.verdict or 'unknown'}, judged by {summary.judged_by or 'nobody'}",
        "converted": f"{summary.converted_at:%Y-%m-%d %H:%M} UTC" if summary.converted_at else "-",
        "measured": f"{summary.measured_at:%Y-%m-%d %H:%M} UTC" if summary.measured_at else "-",
        "source": _source(answer.tags),
        "dataset": summary.dataset or "-",
        "files": ", ".join(f"{file} ({_size(size)})" for file, size in answer.files.items()) or "-",
        "operators": ", ".join(f"{count} {kind}" for kind, count in answer.operators.items()) or "-",
        "MLflow": answer.run_url,
        **answer.links,
    }
    for title, text in rows.items():
        out.print(f"  {plain(title):<24} {plain(text)}", highlight=False, soft_wrap=True)
    out.print("\n[bold]figures[/bold]", highlight=False)
    for metric, value in answer.metrics.items():
        if classes or not any(part in metric for part in _CLASSES):
            out.print(f"  {plain(metric):<48} {value:.6g}", highlight=False, soft_wrap=True)
    out.print("\n[bold]settings[/bold]", highlight=False)
    for setting, text in answer.settings.items():
        out.print(f"  {plain(setting):<48} {plain(text)}", highlight=False, soft_wrap=True)
    if answer.command:
        out.print("\n[bold]made by[/bold]", highlight=False)
        for line in answer.command.splitlines():
            out.print(f"  {plain(line)}", highlight=False, soft_wrap=True)


def _source(tags: Mapping[str, str]) -> str:
    registered = [f"version {tags['source_version']}"] if "source_version" in tags else []
    digests = [
        f"{what} {tags.get(tag, '-')}" for what, tag in (("weights", "source_sha256"), ("config", "config_sha256"))
    ]
    return ", ".join(registered + digests)


def _size(size: int | None) -> str:
    return "size unknown" if size is None else f"{size / 1e6:.2f} MB"
