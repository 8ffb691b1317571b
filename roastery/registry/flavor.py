"""Stand-in until the flavor's own branch is merged."""

import shutil
from pathlib import Path
from typing import Any


def save_model(caffe2_model: Path, path: Path, *, vocabulary: Any = None, mlflow_model: Any = None) -> None:
    shutil.copytree(caffe2_model, path)
    mlflow_model.add_flavor("roastery", roastery_version="0")
    mlflow_model.save(str(path / "MLmodel"))
