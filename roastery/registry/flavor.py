"""The MLflow flavor of converted models: saved, logged and loaded as MLflow's own flavors are, and called as pyfunc.

A saved model is the converted model's own files beside MLflow's. MLflow waits until a function here is called.
"""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import roastery
from roastery.data.vocabulary import Vocabulary
from roastery.errors import ConfigError, ModelFileError
from roastery.registry.address import quiet_mlflow
from roastery.registry.flavor_environment import (
    get_default_conda_env,
    get_default_pip_requirements,
    write_environment,
)
from roastery.registry.flavor_files import (
    FLAVOR_NAME,
    MODEL_FILE,
    check_files,
    digests,
    place_files,
    read_entry,
    read_vocabulary,
    write_vocabulary,
)
from roastery.registry.interface import input_example as usual_example
from roastery.registry.interface import signature as usual_signature
from roastery.targets import TARGETS, target_of
from roastery.targets.target import Target

if TYPE_CHECKING:
    from mlflow.models import Model, ModelInputExample, ModelSignature
    from mlflow.models.model import ModelInfo

    from roastery.registry.pyfunc import Detector
    from roastery.targets.target import ConvertedModel

__all__ = ["FLAVOR_NAME", "get_default_conda_env", "get_default_pip_requirements", "load_model", "log_model"]
__all__ += ["save_model"]


def save_model(
    converted_model: "ConvertedModel | Path",
    path: str | Path,
    *,
    target: str | None = None,
    runtime: str | None = None,
    vocabulary: Vocabulary | None = None,
    conda_env: Mapping[str, Any] | str | None = None,
    pip_requirements: Sequence[str] | str | None = None,
    extra_pip_requirements: Sequence[str] | str | None = None,
    code_paths: Sequence[str] | None = None,
    mlflow_model: "Model | None" = None,
    signature: "ModelSignature | None" = None,
    input_example: "ModelInputExample | None" = None,
    metadata: Mapping[str, Any] | None = None,
    extra_files: Sequence[str] = (),
    validate_serving_input: bool = False,
) -> None:
    """Save a converted model in MLflow's format. The model is not run, and nothing is asked of the network.

    Args:
        converted_model: a model, or the folder of one, whose files become hard links or copies, byte for byte the same.
        path: a folder that is empty, or not there.
        target: what the model in a folder was converted to: "caffe2", unless another is named.
        runtime: what runs it where nothing else is asked for: of Caffe2 "torch", unless it is "caffe2".
        vocabulary: names of classes; without it they are called "class 0" and so on.
        code_paths: kept beside the model, for MLflow's pyfunc; `load_model` does not look at them.
        signature: in place of the flavor's own, which says what `Detector.predict` takes and gives.
        input_example: in place of the flavor's own, a small picture.
        validate_serving_input: asks `Model.log` whether to run the example; nothing is done about it here.

    The other arguments are those of MLflow's own flavors.

    Raises:
        ModelFileError: a folder without a converted model; names of classes that are empty, endless or without ids.
        ConfigError: another runtime.
        MlflowException: a folder that is not empty, or requirements that contradict each other.
    """
    quiet_mlflow()
    from mlflow import pyfunc
    from mlflow.models import Model
    from mlflow.models.utils import _save_example
    from mlflow.utils.environment import _CONDA_ENV_FILE_NAME, _PYTHON_ENV_FILE_NAME, _validate_env_arguments
    from mlflow.utils.file_utils import get_total_file_size
    from mlflow.utils.model_utils import (
        _copy_extra_files,
        _validate_and_copy_code_paths,
        _validate_and_prepare_target_save_path,
    )

    # By what it is not: a folder is saved without PyTorch, which a pipeline's run has no need of.
    source = Path(converted_model) if isinstance(converted_model, str | os.PathLike) else converted_model
    kind = _target((target or "caffe2") if isinstance(source, Path) else source.target)
    runtime = _runtime(kind, runtime)
    _validate_env_arguments(conda_env, pip_requirements, extra_pip_requirements)
    # What is no model is refused before anything is written.
    described = kind.describe(source) if isinstance(source, Path) else None
    folder = Path(path).absolute()
    _validate_and_prepare_target_save_path(str(folder))
    if isinstance(source, Path):
        place_files(source, folder, kind)
    else:
        source.save(folder)
    described = described or kind.describe(folder)
    write_vocabulary(vocabulary or Vocabulary(), folder)

    model = Model() if mlflow_model is None else mlflow_model
    model.signature = usual_signature() if signature is None else signature
    _save_example(model, usual_example() if input_example is None else input_example, str(folder))
    if metadata is not None:
        model.metadata = dict(metadata)
    pyfunc.add_to_model(
        model,
        loader_module=__name__,
        code=_validate_and_copy_code_paths(code_paths, str(folder)),
        conda_env=_CONDA_ENV_FILE_NAME,
        python_env=_PYTHON_ENV_FILE_NAME,
        # MLflow lets what loads the model change these, and no others.
        model_config={"runtime": runtime, "paths": True},
    )
    model.add_flavor(
        FLAVOR_NAME,
        roastery_version=roastery.__version__,
        target=kind.name,
        meta_architecture=described.meta_architecture,
        batch=described.batch,
        runtime=runtime,
        files=digests(folder, kind),
        **_copy_extra_files(list(extra_files), str(folder)),
    )
    model.model_size_bytes = get_total_file_size(str(folder))
    model.save(str(folder / MODEL_FILE))
    # What cannot be read again is refused here, not where it is needed.
    read_entry(folder)
    write_environment(folder, kind.needs, conda_env, pip_requirements, extra_pip_requirements)


def log_model(
    converted_model: "ConvertedModel | Path",
    name: str = "model",
    registered_model_name: str | None = None,
    *,
    await_registration_for: int | None = 300,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    model_type: str | None = None,
    step: int = 0,
    model_id: str | None = None,
    validate_serving_input: bool = False,
    **saving: Any,
) -> "ModelInfo":
    """Log a converted model to MLflow, and register it where a name for that is given.

    Args:
        validate_serving_input: have MLflow load the model and run its example.
        saving: arguments of `save_model`.

    The other arguments are those of MLflow's own flavors.

    Returns:
        What MLflow knows of the logged model; `model_uri` loads it.

    Raises:
        ModelFileError, ConfigError, MlflowException: as `save_model`; the tracking server refuses.
    """
    quiet_mlflow()
    from mlflow.models import Model

    info: ModelInfo = Model.log(
        artifact_path=None,
        name=name,
        flavor=sys.modules[__name__],
        flavor_name=FLAVOR_NAME,
        registered_model_name=registered_model_name,
        await_registration_for=await_registration_for,
        params=params,
        tags=tags,
        model_type=model_type,
        step=step,
        model_id=model_id,
        converted_model=converted_model,
        validate_serving_input=validate_serving_input,
        **saving,
    )
    return info


def load_model(
    model_uri: str | Path, dst_path: str | Path | None = None, runtime: str | None = None
) -> "ConvertedModel":
    """Load a model that this flavor saved. Its files are checked against the digests in MLmodel.

    Args:
        model_uri: a folder, or an address of MLflow's: `runs:/RUN/NAME`, `models:/NAME@ALIAS`, `models:/NAME/VERSION`.
        dst_path: a folder that is there, to download to; otherwise MLflow chooses one.
        runtime: one of its target's, in place of the one that the model was saved with.

    Raises:
        ModelFileError: a model of another flavor; a file that is missing, malformed or not the one that was saved.
        ConfigError: another runtime.
        MlflowException: the address leads nowhere.
    """
    quiet_mlflow()
    from mlflow.tracking.artifact_utils import _download_artifact_from_uri

    output = None if dst_path is None else str(dst_path)
    folder = Path(_download_artifact_from_uri(artifact_uri=str(model_uri), output_path=output))
    entry = read_entry(folder)
    target = target_of(entry.target)
    chosen = _runtime(target, runtime or entry.runtime)
    check_files(folder, entry)
    return target.load(folder, chosen)


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> "Detector":
    """What `mlflow.pyfunc.load_model` calls.

    Args:
        model_config: `runtime`, one of the target's; `paths`, whether images may be named by a path.

    Raises:
        ModelFileError: as `load_model`, or a value of `model_config` that is none of these.
    """
    folder, settings = Path(path), model_config or {}
    entry = read_entry(folder)
    paths, runtime = settings.get("paths", True), settings.get("runtime", entry.runtime)
    if not isinstance(paths, bool):
        raise ModelFileError(f"{folder}: model_config: paths is {paths!r}; set it to true or false")
    target = target_of(entry.target)
    if not isinstance(runtime, str) or runtime not in target.runtimes:
        raise ModelFileError(
            f"{folder}: model_config: runtime {str(runtime)!r} is not known; set it to {_either(target.runtimes)}"
        )
    check_files(folder, entry)
    from roastery.registry.pyfunc import Detector

    return Detector(target.load(folder, runtime), read_vocabulary(folder, entry), paths)


def _target(name: str) -> Target:
    if name not in TARGETS:
        raise ConfigError(f"target {name!r} is not known; name {_either(TARGETS)}")
    return target_of(name)


def _runtime(target: Target, name: str | None) -> str:
    """A runtime of the target; of None its first."""
    if name is None:
        return next(iter(target.runtimes))
    if name not in target.runtimes:
        raise ConfigError(f"runtime {name!r} is not known; name {_either(target.runtimes)}")
    return name


def _either(names: Iterable[str]) -> str:
    return " or ".join(names)
