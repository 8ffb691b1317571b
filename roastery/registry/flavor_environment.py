"""The Python environment that predicts with a saved model, in MLflow's files: the packages that are installed here."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import roastery
from roastery.registry.address import quiet_mlflow

PACKAGES = ("numpy", "pandas", "pillow", "pycocotools", "torch", "yacs")
"""What a prediction is made with, beside MLflow and Roastery, which bring what else they need."""


def get_default_pip_requirements(needs: Sequence[str] = ("protobuf",)) -> list[str]:
    """MLflow, Roastery and what a prediction is made with, each of the version that is installed. No index is asked.

    Args:
        needs: what the model's target needs beside; by default, Caffe2's.
    """
    installed = {name: importlib.metadata.version(name) for name in ("mlflow", *sorted({*PACKAGES, *needs}))}
    installed["roastery"] = roastery.__version__
    # An index has no "+cpu"; without it, the version fits any build.
    return [f"{name}=={version.partition('+')[0]}" for name, version in installed.items()]


def get_default_conda_env(needs: Sequence[str] = ("protobuf",)) -> dict[str, Any]:
    """A conda environment of this Python and the default requirements.

    Args:
        needs: as `get_default_pip_requirements` takes it.
    """
    quiet_mlflow()
    from mlflow.utils.environment import _mlflow_conda_env

    environment: dict[str, Any] = _mlflow_conda_env(
        additional_pip_deps=get_default_pip_requirements(needs), install_mlflow=False
    )
    return environment


def write_environment(
    folder: Path,
    needs: Sequence[str],
    conda_env: Mapping[str, Any] | str | None,
    pip_requirements: Sequence[str] | str | None,
    extra_pip_requirements: Sequence[str] | str | None,
) -> None:
    """Write `conda.yaml`, `python_env.yaml`, `requirements.txt` and, where there are any, the constraints.

    Args:
        needs: as `get_default_pip_requirements` takes it.
        conda_env, pip_requirements, extra_pip_requirements: as MLflow's own flavors take them.

    Raises:
        MlflowException: requirements that contradict each other.
    """
    from mlflow.environment_variables import MLFLOW_LOCK_MODEL_DEPENDENCIES
    from mlflow.utils import environment

    found: tuple[dict[str, Any], list[str], list[str]]
    if conda_env is pip_requirements is extra_pip_requirements is None and not MLFLOW_LOCK_MODEL_DEPENDENCIES.get():
        # MLflow would read what is known of every package that is installed, to find that these are: 0.7 s a model.
        found = get_default_conda_env(needs), get_default_pip_requirements(needs), []
    elif conda_env is None:
        usual = get_default_pip_requirements(needs) if pip_requirements is None else None
        found = environment._process_pip_requirements(usual, pip_requirements, extra_pip_requirements)
    else:
        found = environment._process_conda_env(conda_env)
    environment_of_conda, requirements, constraints = found
    with (folder / environment._CONDA_ENV_FILE_NAME).open("w", encoding="utf-8") as file:
        yaml.safe_dump(environment_of_conda, file, default_flow_style=False)
    if constraints:
        (folder / environment._CONSTRAINTS_FILE_NAME).write_text("\n".join(constraints), encoding="utf-8")
    (folder / environment._REQUIREMENTS_FILE_NAME).write_text("\n".join(requirements), encoding="utf-8")
    environment._PythonEnv.current().to_yaml(str(folder / environment._PYTHON_ENV_FILE_NAME))
