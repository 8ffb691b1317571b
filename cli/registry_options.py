"""What commands that ask the registry have in common: where it is, and that MLflow is quiet."""

from pathlib import Path
from typing import Annotated

import typer

from cli.environment import HOME, prepare_environment
from roastery.registry.registry import Registry
from roastery.spec import PipelineConfig, load_pipeline, over_pipeline

PIPELINE = Path("configs/pipeline.yaml")

PipelineOption = Annotated[Path | None, typer.Option(help="pipeline.yaml.  [default: configs/pipeline.yaml]")]
TrackingOption = Annotated[str | None, typer.Option(help="MLflow's tracking URI, over pipeline.yaml's.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for programs, instead of a table.")]


def open_registry(pipeline: Path | None, tracking_uri: str | None) -> Registry:
    """The registry that the options name, else pipeline.yaml, else the environment.

    Raises:
        ConfigError: no such pipeline.yaml, or none that it should be.
    """
    config = configured(pipeline, tracking_uri)
    prepare_environment(HOME)
    return Registry(config.tracking_uri, config.experiment)


def configured(pipeline: Path | None, tracking_uri: str | None) -> PipelineConfig:
    """The pipeline's configuration. Where nobody names one and there is none, the defaults are."""
    unsaid = pipeline is None and not PIPELINE.exists()
    config = PipelineConfig() if unsaid else load_pipeline(pipeline or PIPELINE)
    return over_pipeline(config, {"tracking_uri": tracking_uri}) if tracking_uri else config
