"""`roastery run`: the fleet flow over the registered models, and one table of how they ended."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import FAILED, MISTAKE
from cli.environment import HOME, prepare_environment
from cli.plain import plain
from cli.prefect_server import prefect_server
from cli.targets import TargetChoice
from roastery.project import Project
from roastery.provenance import source_digest
from roastery.reference_uri import is_reference
from roastery.registry.asked_sources import with_registered
from roastery.registry.catalog import Catalog
from roastery.report.files import PAGE_FILE
from roastery.results import FleetSummary, ModelSummary, TargetSummary
from roastery.selection import Only, Selection, select
from roastery.spec import (
    PipelineConfig,
    Runtimes,
    load_datasets,
    load_models,
    load_pipeline,
    over_pipeline,
    registered_datasets,
)
from roastery.stages import STAGES
from roastery.store import Store

if TYPE_CHECKING:
    from rich.console import Console

MODELS = Path("configs/models")
_COLUMNS = {
    "model": False,
    "target": False,
    "AP": False,
    "original": True,
    "converted": True,
    "difference": True,
    "verdict": False,
    "seconds": True,
    "version": True,
}
"""The columns, and whether they hold figures. That of the target is there where there are others than Caffe2."""
_TARGET = list(_COLUMNS).index("target")


def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Registered models, or globs such as 'mask_*'; or sources in the registry, models:/NAME/VERSION, "
            "models:/NAME@ALIAS or 'models:/mask_*'. Default: all of --models.",
        ),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Models that carry this tag; given twice, both.", show_default=False)
    ] = None,
    only: Annotated[
        Only,
        typer.Option(
            help="'new': without a converted version; 'changed': with one of other weights, config or export."
        ),
    ] = "all",
    models: Annotated[Path, typer.Option(help="Folder of the registered models' YAML.")] = MODELS,
    datasets: Annotated[
        Path | None, typer.Option(help="Folder of the datasets' YAML.  [default: beside --models]")
    ] = None,
    pipeline: Annotated[Path | None, typer.Option(help="pipeline.yaml.  [default: beside --models]")] = None,
    store: Annotated[str | None, typer.Option(help="Folder or URL of the artifacts, over pipeline.yaml's.")] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow's tracking URI, over pipeline.yaml's.")] = None,
    targets: Annotated[
        list[TargetChoice] | None,
        typer.Option("--target", help="What to convert to, over the configs'; given twice, both.", show_default=False),
    ] = None,
    runtime: Annotated[
        Runtimes | None, typer.Option(help="Which runtimes judge the Caffe2 models, over the models' own.")
    ] = None,
) -> None:
    """Convert registered models, measure them beside their originals, and file them.

    Ends with 0 where all passed, 1 where a conversion or a gate failed, 2 where something is to be mended.

    Examples:

    roastery run

    roastery run mask_rcnn_fpn --runtime both

    roastery run 'mask_*' --tag team=vision --only "new or changed"

    roastery run mask_rcnn_fpn --target caffe2 --target onnxruntime

    roastery run models:/street_signs/3

    roastery run --models /srv/configs/models --store /srv/store --tracking-uri http://127.0.0.1:5000
    """
    project = Project(
        # Sources in the registry have no YAML.
        models={} if names and all(map(is_reference, names)) else load_models(models),
        datasets=load_datasets(datasets) if datasets else registered_datasets(_beside(models, "datasets")),
        pipeline=_configured(pipeline, models, {"store": store, "tracking_uri": tracking_uri}),
    )
    project, asked = with_registered(project, names or (), lambda: _catalog(project.pipeline))
    selection = Selection(names=asked, tags=tuple(tag or ()), only=only)
    # Before anything is started, which takes seconds.
    project = project.converted_to([target.value for target in targets or ()])
    chosen = select(project.models, selection, lambda: _catalog(project.pipeline).converted(), project.pipeline.targets)
    if not chosen:
        typer.echo(f"nothing to convert: no model is {only}")
        return
    if runtime is not None:
        chosen = {name: model.model_copy(update={"runtimes": runtime}) for name, model in chosen.items()}
    summary = convert(project.model_copy(update={"models": chosen}))
    if any(model.failure and model.failure.mistake for model in summary.models):
        raise typer.Exit(MISTAKE)
    if summary.failed:
        raise typer.Exit(FAILED)


def _catalog(config: PipelineConfig) -> Catalog:
    prepare_environment(HOME)
    return Catalog(config.tracking_uri, config.experiment)


def convert(project: Project) -> FleetSummary:
    """Run the fleet flow over the project's models with its progress on the console, and print the table."""
    prepare_environment(HOME)
    from rich.console import Console

    from cli.progress import ConsoleProgress
    from flows.progress import listening

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        # A file or a pipe has no width that a line would have to fit.
        console = Console(width=120)
    with prefect_server() as wait_for_server:
        with console.status("starting Prefect"):
            from cli.prefect_runs import end_lost_runs, kept
            from flows.asked import using
            from flows.convert_fleet import convert_fleet

            _get_ready(project.pipeline)
            wait_for_server()
            home = Path(os.environ["PREFECT_HOME"])
            end_lost_runs(home)
        with (
            ConsoleProgress(console) as progress,
            listening(progress),
            kept(home, convert_fleet) as fleet,
            using(project),
        ):
            state = fleet(list(project.models), only="all", where="this machine", return_state=True)
    summary = state.result(raise_on_failure=False)
    if not isinstance(summary, FleetSummary):
        raise summary if isinstance(summary, BaseException) else RuntimeError(f"the fleet ended as {state!r}")
    show(console, summary, project.pipeline)
    return summary


def _get_ready(config: PipelineConfig) -> None:
    """What the flow needs in any case, done while Prefect's server starts."""
    for stage in STAGES:
        source_digest((f"roastery.stages.{stage}",))
    Catalog(config.tracking_uri).load()


def show(console: "Console", summary: FleetSummary, config: PipelineConfig) -> None:
    """Print how each model ended, and where its report, artifacts and versions lie."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title="Converted models", title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0)
    )
    several = any(target.target != "caffe2" for model in summary.models for target in model.targets)
    for heading, figure in _COLUMNS.items():
        if heading == "target" and not several:
            continue
        # On a narrow terminal the verdict takes two lines; no name and no figure is cut.
        wraps = heading == "verdict"
        table.add_column(
            heading, justify="right" if figure else "left", no_wrap=not wraps, min_width=9 if wraps else None
        )
    for model in summary.models:
        for row in _rows(model):
            table.add_row(*(row if several else row[:_TARGET] + row[_TARGET + 1 :]))
    console.print(table)
    for model in summary.models:
        _explain(console, model)
    console.print(f"MLflow: {_absolute(config.tracking_uri)}", soft_wrap=True)
    console.print(f"store:  {Store(config.store).url}", soft_wrap=True)


def _rows(model: ModelSummary) -> list[list[str]]:
    seconds = "unchanged" if model.unchanged else f"{model.seconds:.1f}"
    rows = [row for target in model.targets for row in _target_rows(target)]
    if not rows or model.failure is not None:
        ended = f"failed in {model.failure.stage}" if model.ended == "failed" and model.failure else model.ended
        rows.append(["", "", "", "", "", f"[red]{ended}[/red]", ""])
    return [
        [model.model if first else "", *row[:-1], seconds if first else "", row[-1]]
        for first, row in zip((True, *(False for _ in rows[1:])), rows, strict=True)
    ]


def _target_rows(target: TargetSummary) -> list[list[str]]:
    """A row for each figure, the first of which says what holds for all; without the model's own columns."""
    verdict = "[green]passed[/green]" if target.passed else "[red]FAILED[/red]"
    version = str(target.registered.version) if target.registered else ""
    rows: list[list[str]] = []
    for figure in target.figures:
        difference = "-" if figure.difference is None else f"{figure.difference:+.2f}"
        name = figure.iou_type if figure.metric == "AP" else figure.metric
        figures = [_figure(figure.original), _figure(figure.converted), difference]
        if rows:
            rows.append(["", name, *figures, "", ""])
        else:
            rows.append([target.target, name, *figures, f"{verdict} ({target.judged_by})", version])
    return rows


def _explain(console: "Console", model: ModelSummary) -> None:
    failure = model.failure
    if failure is not None:
        text = f"{model.model}: failed in {failure.stage}: {failure.reason}"
        console.print(plain(text), style="red", soft_wrap=True)
        if failure.look and failure.command:
            console.print(f"  look here:  {failure.look}", markup=False, soft_wrap=True)
            console.print(f"  try alone:  {failure.command}", markup=False, soft_wrap=True)
    for target in model.targets:
        for reason in target.reasons:
            console.print(plain(f"{model.model}: {reason}"), style="red", soft_wrap=True)
        console.print(model.model, markup=False)
        if target.registered is not None:
            registered = target.registered
            alias = f", {registered.alias}" if registered.alias else ""
            console.print(f"  registered: {registered.name} version {registered.version}{alias}", markup=False)
        if target.report is not None:
            console.print(f"  report:     {target.report}/{PAGE_FILE}", markup=False, soft_wrap=True)
        console.print(f"  artifacts:  {target.artifacts}", markup=False, soft_wrap=True)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _absolute(tracking_uri: str) -> str:
    start = "sqlite:///"
    return (
        f"{start}{Path(tracking_uri.removeprefix(start)).absolute()}"
        if tracking_uri.startswith(start)
        else tracking_uri
    )


def _beside(models: Path, name: str) -> Path:
    """What lies beside the models' folder, else the project's own."""
    beside = models.parent / name
    return beside if beside.exists() else MODELS.parent / name


def _configured(path: Path | None, models: Path, over: Mapping[str, str | None]) -> PipelineConfig:
    config = load_pipeline(path or _beside(models, "pipeline.yaml"))
    return over_pipeline(config, {key: value for key, value in over.items() if value is not None})
