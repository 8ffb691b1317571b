"""`roastery register`: trained detectors into the MLflow registry, as the source models that fleets convert."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli import FAILED, MISTAKE
from cli.environment import HOME, prepare_environment
from cli.plain import plain
from cli.registry_options import PipelineOption, TrackingOption, configured
from cli.transfer import transferring
from roastery.errors import ConfigError, RoasteryError, UserError
from roastery.registry.catalog import Catalog
from roastery.spec import ModelSpec, Tag, load_model
from roastery.training_metrics import METRICS_FILE, read_training_metrics
from roastery.weights.address import is_address
from roastery.weights.fetch import local_weights
from roastery.zoo import find_config


def register(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="YAML", help="Models' YAML, as of configs/models", show_default=False),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of one model without a YAML: its name.", show_default=False)] = None,
    config_file: Annotated[
        Path | None,
        typer.Option(
            help="Of one model without a YAML: detectron2's config, or its name in the model zoo.", show_default=False
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Of one model without a YAML: its checkpoint, a path or an address.", show_default=False),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Of one model without a YAML: the dataset that it is evaluated on.", show_default=False),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Of one model without a YAML: a tag; may be repeated.", show_default=False)
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(help="detectron2's metrics.json of one model.  [default: beside its checkpoint, if it is there]"),
    ] = None,
    pipeline: PipelineOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Register trained detectors in MLflow, as the source models that fleets convert.

    A version holds the whole config, the checkpoint as it is, and its tensors as safetensors. The same bytes are the
    same version, however often they are registered; what else the YAML says of them is kept up to date.

    Ends with 0 where all are registered, else with 2, and the others are registered all the same.

    Examples:

    roastery register configs/models/*.yaml

    roastery register --name street_signs --config-file config.yaml --weights model_final.pth --dataset signs_val

    roastery register --name coco --config-file mask_rcnn.yaml --weights s3://models/model_final.pkl --dataset coco_val

    roastery run models:/street_signs/1
    """
    specs = [_one(name, config_file, weights, dataset, tag or ())] if not files else []
    if files and any(each is not None for each in (name, config_file, weights, dataset, tag)):
        raise ConfigError("YAML and options both say what to register; give one of them")
    if metrics is not None and len(files or specs) > 1:
        raise ConfigError("--metrics is of one model; register it alone")
    config = configured(pipeline, tracking_uri)
    prepare_environment(HOME)
    catalog = Catalog(config.tracking_uri, config.experiment)
    failed = 0
    for each in [*specs, *(files or ())]:
        try:
            _register(catalog, each if isinstance(each, ModelSpec) else load_model(each), metrics)
        except RoasteryError as error:
            # One model's trouble is nobody else's.
            print(f"roastery: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
            failed = max(failed, MISTAKE if isinstance(error, UserError) else FAILED)
    if failed:
        raise typer.Exit(failed)


def _register(catalog: Catalog, spec: ModelSpec, metrics: Path | None) -> None:
    from rich.console import Console

    from roastery.registry.sources import register_source

    console = Console(soft_wrap=True, highlight=False)
    if spec.is_registered:
        raise ConfigError(f"model {spec.name!r}: its weights are a registered source already ({spec.weights})")
    fetched = local_weights(spec.weights, spec.weights_sha256, lambda: transferring(console, f"fetching {spec.name}"))
    spec = spec.model_copy(update={"weights": str(fetched)})
    beside = Path(spec.weights).with_name(METRICS_FILE)
    file = metrics or (beside if beside.is_file() else None)
    figures = read_training_metrics(file) if file is not None else {}
    with console.status(f"registering {plain(spec.name)}"):
        registered = register_source(catalog, spec, figures)
    done = "registered" if registered.created else "was registered before"
    console.print(f"{plain(spec.name)} version {registered.version}: {done}")


def _one(
    name: str | None, config_file: Path | None, weights: str | None, dataset: str | None, tags: Sequence[Tag]
) -> ModelSpec:
    if name is None or config_file is None or weights is None or dataset is None:
        raise ConfigError(
            "nothing to register; give YAML files, or --name, --config-file, --weights and --dataset of one model"
        )
    from pydantic import ValidationError

    try:
        return ModelSpec(
            name=name,
            config=find_config(config_file).absolute(),
            weights=weights if is_address(weights) else str(Path(weights).absolute()),
            dataset=dataset,
            tags=tuple(tags),
        )
    except ValidationError as error:
        problem = error.errors()[0]
        raise ConfigError(f"--{'-'.join(str(part) for part in problem['loc'][:1])}: {problem['msg']}") from error
