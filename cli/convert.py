"""`roastery convert`: one model, with the original converter's command line."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli import FAILED
from cli.plain import plain
from cli.targets import TargetChoice
from cli.transfer import transferring
from roastery.errors import ConfigError

if TYPE_CHECKING:
    from roastery.conversion import Advance, ConversionOutcome
    from roastery.results import Evaluation
    from roastery.weights.fetch import Told

CONTEXT_SETTINGS = {"allow_interspersed_args": False}
"""What follows the first KEY is never an option, so that a value may be negative."""

_SHOWN = 5


class SourceChoice(StrEnum):
    """Who builds the model."""

    NATIVE = "native"
    DETECTRON2 = "detectron2"


class RuntimeChoice(StrEnum):
    """Where the converted net is compared with the detector, and evaluated."""

    TORCH = "torch"
    CAFFE2 = "caffe2"
    BOTH = "both"


_RUNTIMES: dict[RuntimeChoice, tuple[str, ...]] = {
    RuntimeChoice.TORCH: ("torch",),
    RuntimeChoice.CAFFE2: ("caffe2",),
    RuntimeChoice.BOTH: ("torch", "caffe2"),
}


def convert(
    config_file: Annotated[
        Path, typer.Option(help="detectron2's YAML config, or its name in detectron2's model zoo.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option(help="A new or empty folder, or an earlier conversion to replace.", show_default=False)
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY VALUE", help="Config keys to set, such as MODEL.WEIGHTS model.pkl.", show_default=False
        ),
    ] = None,
    run_eval: Annotated[
        bool, typer.Option("--run-eval", help="Evaluate original and converted model on DATASETS.TEST.")
    ] = False,
    target: Annotated[TargetChoice, typer.Option(help="What it is converted to.")] = TargetChoice("caffe2"),  # noqa: B008
    runtime: Annotated[
        RuntimeChoice, typer.Option(help="Where a Caffe2 net is checked; caffe2 is the genuine one.")
    ] = RuntimeChoice.TORCH,
    float_layers: Annotated[
        list[str] | None,
        typer.Option(
            "--float-layer",
            metavar="NAME",
            help="Of onnxruntime-int8: a layer that stays float32, or a glob as 'backbone.fpn_*'; may be repeated.",
            show_default=False,
        ),
    ] = None,
    sample_images: Annotated[
        list[Path] | None,
        typer.Option(
            "--sample-image",
            help="An image to check the net on; may be repeated. Default: a few of the dataset's.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, max=64, help="Images that the net takes at once, each found in as if alone.")
    ] = 1,
    decode: Annotated[
        bool, typer.Option("--decode", help="RetinaNet: detections from the net, not the original's raw maps.")
    ] = False,
    source: Annotated[
        SourceChoice,
        typer.Option(help="Who builds the model: Roastery's own parts, or the installed detectron2, live."),
    ] = SourceChoice.NATIVE,
    custom_modules: Annotated[
        list[str] | None,
        typer.Option(
            "--custom-module",
            metavar="MODULE[:FUNCTION]",
            help="A module that registers parts of the model, to import first; may be repeated. It is code that runs.",
            show_default=False,
        ),
    ] = None,
    datasets: Annotated[Path, typer.Option(help="Folder in which datasets are registered.")] = Path("configs/datasets"),
) -> None:
    """Convert one detectron2 model to Caffe2 or another target, and check that nothing is lost.

    Leaves model.pb, model_init.pb, model.pbtxt, model.svg, model.onnx, model.pt2 and manifest.json in the folder; of
    ONNX Runtime's targets model.onnx, of standard operators alone, and manifest.json.
    Exits with 1 where the converted model is not the original's equal, with 2 where something must be mended.

    Examples:

    roastery convert --config-file examples/shapes/mask_rcnn_fpn/config.yaml --output out

    roastery convert --config-file config.yaml --output out --run-eval --runtime both MODEL.WEIGHTS model_final.pkl

    roastery convert --config-file mask_rcnn_R_50_FPN_3x.yaml --output ./caffe2_model MODEL.WEIGHTS detectron2://COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl MODEL.DEVICE cpu

    roastery convert --config-file config.yaml --output out MODEL.WEIGHTS m.pth MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.3

    roastery convert --config-file retinanet.yaml --output out --decode --batch 4 MODEL.WEIGHTS model_final.pkl

    roastery convert --config-file COCO-Detection/retinanet_R_50_FPN_1x.yaml --output out MODEL.WEIGHTS model_final.pkl

    roastery convert --config-file config.yaml --output out --custom-module my_project.backbones MODEL.WEIGHTS m.pth

    roastery convert --config-file config.yaml --output out --target onnxruntime MODEL.WEIGHTS model_final.pkl

    roastery convert --config-file lazy.py --output out --source detectron2 train.init_checkpoint model_final.pth
    """  # noqa: E501  (an example is one line)
    from roastery.conversion import Code, convert_to_directory
    from roastery.evaluation.gate import GatePolicy
    from roastery.spec import ExportSpec
    from roastery.targets import target_of

    chosen = target_of(target.value)
    if float_layers and "float_layers" not in chosen.options:
        raise ConfigError(f"--float-layer is of a target that rounds, not of {target.value}; leave it out")
    console = Console(soft_wrap=True, highlight=False)
    code = Code(source.value, tuple(custom_modules or ()), Path.cwd() if custom_modules else None)
    console.print(f"Converting [bold]{plain(str(config_file))}[/bold]")
    for name in code.run_with(config_file):
        console.print(f"[yellow]runs[/yellow] {plain(name)}: it is code, with all that it may do")
    outcome = convert_to_directory(
        config_file,
        output,
        overrides or (),
        runtimes=_RUNTIMES[runtime] if target.value == "caffe2" else None,
        target=chosen,
        settings={"float_layers": list(float_layers)} if float_layers else {},
        policy=GatePolicy(**chosen.usual_gate.model_dump()),
        run_eval=run_eval,
        sample_images=sample_images or (),
        datasets=datasets,
        export=ExportSpec(batch=batch, decode=decode),
        code=code,
        progress=_Told(console),
    )
    _print_parity(console, outcome)
    if outcome.evaluation is not None:
        _print_evaluation(console, outcome.evaluation)
    if outcome.device != "cpu":
        console.print(f"Net for [bold]{plain(outcome.device)}[/bold]; it was run on the CPU here, not on a GPU")
    for warning in outcome.warnings:
        console.print(f"[yellow]without[/yellow] {plain(warning)}")
    console.print(f"Left in [bold]{plain(str(output))}[/bold]: {_listed(outcome.files)}")
    if not outcome.passed:
        console.print(
            "[red]failed[/red]: the converted model is not the original's equal; manifest.json has the verdict"
        )
        raise typer.Exit(FAILED)
    console.print("[green]passed[/green]")


class _Told:
    """Progress on a console: a bar while a step lasts where someone watches, and a line for each step that is over."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, text: str, total: int | None = None) -> "Iterator[Advance]":
        columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
        if total is not None:
            columns.insert(3, MofNCompleteColumn())
        live = self.console.is_terminal
        with Progress(*columns, console=self.console, transient=True, disable=not live) as progress:
            task = progress.add_task(text, total=total)
            yield lambda: progress.advance(task)
            progress.stop_task(task)
            seconds = progress.tasks[0].elapsed or 0.0
        self._tell(text, seconds)

    @contextmanager
    def transfer(self, text: str) -> "Iterator[Told]":
        started = time.monotonic()
        with transferring(self.console, text) as told:
            yield told
        self._tell(text, time.monotonic() - started)

    def _tell(self, text: str, seconds: float) -> None:
        self.console.print(f"  {text:<24}{seconds:6.1f} s")


def _print_parity(console: Console, outcome: "ConversionOutcome") -> None:
    for parity in outcome.parity:
        verdict = "[green]the same[/green]" if parity.passed else "[red]not the same[/red]"
        largest = ", ".join(f"{plain(name)} {value:.1e}" for name, value in parity.largest.items())
        console.print(
            f"Net in the {parity.runtime} runtime and detector: {verdict} on {outcome.sample}"
            + (f" (largest difference: {largest})" if largest else "")
        )
        for difference in parity.differences[:_SHOWN]:
            console.print(f"  {plain(difference)}")
        if len(parity.differences) > _SHOWN:
            console.print(f"  and {len(parity.differences) - _SHOWN} more; manifest.json has them all")


def _print_evaluation(console: Console, evaluation: "Evaluation") -> None:
    runtimes = [target for target in evaluation.metrics if target != "original"]
    table = Table(title=f"AP on {evaluation.images} images of {plain(evaluation.dataset)}", title_justify="left")
    table.add_column("metric")
    for column in ["original", *(column for runtime in runtimes for column in (runtime, "difference"))]:
        table.add_column(column, justify="right")
    original = evaluation.metrics["original"]
    for iou_type, figures in original.items():
        for name, before in figures.items():
            cells = [plain(f"{iou_type} {name}"), _figure(before)]
            for runtime in runtimes:
                after = evaluation.metrics[runtime].get(iou_type, {}).get(name)
                delta = None if before is None or after is None else after - before
                cells += [_figure(after), _figure(delta, sign=True)]
            table.add_row(*cells)
    console.print(table)
    for target, latency in evaluation.latency.items():
        console.print(f"{target}: {latency.median_ms:.1f} ms an image (median), {latency.p90_ms:.1f} ms (90 %)")
    for judge, verdict in evaluation.verdicts.items():
        console.print(f"Gate, {judge}: " + ("[green]passed[/green]" if verdict.passed else "[red]failed[/red]"))
        for reason in verdict.reasons[:_SHOWN]:
            console.print(f"  {plain(reason)}")


def _figure(value: float | None, sign: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.3f}" if sign else f"{value:.3f}"


def _listed(files: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({size / 1e6:.1f} MB)" for name, size in files.items())
