"""What a conversion came from, as MLflow draws lineage: the dataset and the source model are inputs of its run."""

from typing import TYPE_CHECKING

from roastery.digest import canonical_json, json_sha256
from roastery.registry.logged_model import EXTERNAL, KIND_TAG, SOURCE, find_model, keyed_model
from roastery.registry.record import KEY_TAG
from roastery.results import Conversion, Evaluation, ResolvedModel

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, LoggedModel

_LONGEST_DIGEST = 36
"""What MLflow takes of a dataset's digest."""
_EXTERNAL_TAG = "mlflow.model.isExternal"


def dataset_digest(evaluation: Evaluation) -> str:
    """The dataset's digest as MLflow has it: the first letters of its sha256."""
    return evaluation.dataset_sha256[:_LONGEST_DIGEST]


def log_inputs(client: "MlflowClient", run_id: str, experiment_id: str, conversion: Conversion) -> "LoggedModel":
    """Tie dataset and source model to a conversion's run. May be done again. Gives the source model."""
    from mlflow.entities import LoggedModelInput

    source = source_model(client, experiment_id, conversion.resolved)
    datasets = [dataset_input(conversion.evaluation)]
    client.log_inputs(run_id, datasets=datasets, models=[LoggedModelInput(source.model_id)])
    return source


def dataset_input(evaluation: Evaluation) -> "DatasetInput":
    """What an evaluation measured on."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    # The place of the images is a machine's own: the digest says what they are.
    source = canonical_json({"name": evaluation.dataset, "sha256": evaluation.dataset_sha256})
    profile = canonical_json({"images": evaluation.images})
    dataset = Dataset(evaluation.dataset, dataset_digest(evaluation), "coco", source, None, profile)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "evaluation")])


def source_model(client: "MlflowClient", experiment_id: str, resolved: ResolvedModel) -> "LoggedModel":
    """The logged model of a registered source; of one that was never registered, a mark that it exists elsewhere."""
    made_of = {"source_sha256": resolved.source_sha256, "config_sha256": resolved.config_sha256}
    key = source_key(resolved.name, resolved.source_sha256, resolved.config_sha256)
    registered = find_model(client, experiment_id, {KEY_TAG: key})
    if registered is not None:
        return registered
    tags = {_EXTERNAL_TAG: "true", KIND_TAG: EXTERNAL, "model": resolved.name, **made_of}
    model = keyed_model(client, experiment_id, f"{EXTERNAL}.{key}", resolved.name, tags)
    client.finalize_logged_model(model.model_id, "READY")
    return model


def source_key(name: str, source_sha256: str, config_sha256: str) -> str:
    """The key of a source model: the same bytes under the same name are the same."""
    return f"{SOURCE}.{json_sha256([name, source_sha256, config_sha256])}"
