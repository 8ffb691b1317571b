"""A project: what is registered and how it is treated, read from one folder of configs."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from roastery.data.builtin import named_dataset, names_like
from roastery.errors import ConfigError
from roastery.spec import (
    DatasetSpec,
    ModelSpec,
    PipelineConfig,
    load_models,
    load_pipeline,
    over_pipeline,
    registered_datasets,
)


class Project(BaseModel):
    """Registered models and datasets by name, and the pipeline's configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[str, ModelSpec]
    datasets: dict[str, DatasetSpec]
    pipeline: PipelineConfig

    def model(self, name: str) -> ModelSpec:
        """A registered model.

        Raises:
            ConfigError: there is none of that name.
        """
        if name not in self.models:
            raise ConfigError(f"no model {name!r} is registered; add it to configs/models")
        return self.models[name]

    def dataset_of(self, model: ModelSpec) -> DatasetSpec:
        """The dataset that a model is evaluated on: a registered one, or one of detectron2's.

        Raises:
            ConfigError: there is none of that name.
        """
        dataset = named_dataset(model.dataset, self.datasets)
        if dataset is None:
            raise ConfigError(
                f"dataset: {model.dataset!r} is not registered; add it to configs/datasets as YAML with name, images "
                f"and annotations, or name one of detectron2's{names_like(model.dataset, self.datasets)}"
            )
        return dataset

    def converted_to(self, targets: Sequence[str]) -> "Project":
        """The same with all models converted to these targets, sources in the registry too; none: as each says.

        Raises:
            ConfigError: a target that is there twice, or none that is known.
        """
        if not targets:
            return self
        models = {name: model.model_copy(update={"targets": None}) for name, model in self.models.items()}
        pipeline = over_pipeline(self.pipeline, {"targets": list(targets)})
        return self.model_copy(update={"models": models, "pipeline": pipeline})

    def only(self, name: str) -> "Project":
        """The same for one model: what its own process is given.

        Args:
            name: its name, or the reference by which the project has a registered source.
        """
        model = self.model(name)
        datasets = {model.dataset: self.datasets[model.dataset]} if model.dataset in self.datasets else {}
        return Project(models={name: model}, datasets=datasets, pipeline=self.pipeline)


def load_project(configs: Path) -> Project:
    """Read `models/`, `datasets/` and `pipeline.yaml` of a folder.

    Raises:
        ConfigError: what is not there, or not what it should be.
    """
    return Project(
        models=load_models(configs / "models"),
        datasets=registered_datasets(configs / "datasets"),
        pipeline=load_pipeline(configs / "pipeline.yaml"),
    )
