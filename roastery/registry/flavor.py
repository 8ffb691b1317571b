"""The MLflow flavor of converted models: saved, logged and loaded as MLflow's own flavors are, and called as pyfunc.

A saved model is the converted model's own files beside MLflow's. MLflow waits until a function here is called.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import roastery
from roastery.caffe2.nets import PREDICT_FILE, batch_size, load_net, net_argument
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
from roastery.stages.genuine import RuntimeName

if TYPE_CHECKING:
    from mlflow.models import Model, ModelInputExample, ModelSignature
    from mlflow.models.model import ModelInfo

    from roastery.caffe2.model import Caffe2Model
    from roastery.registry.pyfunc import Detector

__all__ = ["FLAVOR_NAME", "get_default_conda_env", "get_default_pip_requirements", "load_model", "log_model"]
__all__ += ["save_model"]


def save_model(
    caffe2_model: "Caffe2Model | Path",
    path: str | Path,
    *,
    runtime: RuntimeName = "torch",
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
        caffe2_model: a model, or the folder of one, whose files become hard links or copies, byte for byte the same.
        path: a folder that is empty, or not there.
        runtime: what runs the net where nothing else is asked for: "torch" or "caffe2".
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

    runtime = _runtime(runtime)
    _validate_env_arguments(conda_env, pip_requirements, extra_pip_requirements)
    # By what it is not: a folder is saved without PyTorch, which a pipeline's run has no need of.
    source = Path(caffe2_model) if isinstance(caffe2_model, str | os.PathLike) else caffe2_model
    # Of a folder the graph alone is read: the parameters are most of it.
    net = load_net(source / PREDICT_FILE) if isinstance(source, Path) else source.predict_net
    folder = Path(path).absolute()
    _validate_and_prepare_target_save_path(str(folder))
    if isinstance(source, Path):
        place_files(source, folder)
    else:
        source.save_protobuf(folder)
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
        meta_architecture=net_argument(net, "meta_architecture", "unknown"),
        batch=batch_size(net),
        runtime=runtime,
        files=digests(folder),
        **_copy_extra_files(list(extra_files), str(folder)),
    )
    model.model_size_bytes = get_total_file_size(str(folder))
    model.save(str(folder / MODEL_FILE))
    # What cannot be read again is refused here, not where it is needed.
    read_entry(folder)
    write_environment(folder, conda_env, pip_requirements, extra_pip_requirements)


def log_model(
    caffe2_model: "Caffe2Model | Path",
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
        caffe2_model=caffe2_model,
        validate_serving_input=validate_serving_input,
        **saving,
    )
    return info


def load_model(model_uri: str | Path, dst_path: str | Path | None = None, runtime: str | None = None) -> "Caffe2Model":
    """Load a model that this flavor saved. Its files are checked against the digests in MLmodel.

    Args:
        model_uri: a folder, or an address of MLflow's: `runs:/RUN/NAME`, `models:/NAME@ALIAS`, `models:/NAME/VERSION`.
        dst_path: a folder that is there, to download to; otherwise MLflow chooses one.
        runtime: "torch" or "caffe2", in place of the one that the model was saved with.

    Raises:
        ModelFileError: a model of another flavor; a file that is missing, malformed or not the one that was saved.
        ConfigError: another runtime.
        MlflowException: the address leads nowhere.
    """
    quiet_mlflow()
    from mlflow.tracking.artifact_utils import _download_artifact_from_uri

    chosen = None if runtime is None else _runtime(runtime)
    output = None if dst_path is None else str(dst_path)
    folder = Path(_download_artifact_from_uri(artifact_uri=str(model_uri), output_path=output))
    entry = read_entry(folder)
    check_files(folder, entry)
    from roastery.caffe2.model import Caffe2Model

    return Caffe2Model.load_protobuf(folder, chosen or entry.runtime)


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> "Detector":
    """What `mlflow.pyfunc.load_model` calls.

    Args:
        model_config: `runtime`, "torch" or "caffe2"; `paths`, whether images may be named by a path.

    Raises:
        ModelFileError: as `load_model`, or a value of `model_config` that is none of these.
    """
    folder, settings = Path(path), model_config or {}
    entry = read_entry(folder)
    paths, runtime = settings.get("paths", True), settings.get("runtime", entry.runtime)
    if not isinstance(paths, bool):
        raise ModelFileError(f"{folder}: model_config: paths is {paths!r}; set it to true or false")
    if runtime not in get_args(RuntimeName):
        raise ModelFileError(
            f"{folder}: model_config: runtime {str(runtime)!r} is not known; set it to torch or caffe2"
        )
    check_files(folder, entry)
    from roastery.caffe2.model import Caffe2Model
    from roastery.registry.pyfunc import Detector

    return Detector(Caffe2Model.load_protobuf(folder, runtime), read_vocabulary(folder, entry), paths)


def _runtime(name: str) -> RuntimeName:
    for known in get_args(RuntimeName):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise ConfigError(f"runtime {name!r} is not known; name torch or caffe2")
