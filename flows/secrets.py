"""Secrets out of Prefect's blocks, into the environment of the process that runs a flow.

There the libraries that need them look for them by themselves: MLflow, PostgreSQL's and S3's clients. So they are in no
parameter, no config and no address, and nothing of Roastery ever holds one.
"""

import os
from typing import Any

from prefect.blocks.system import Secret

from roastery.errors import ConfigError
from roastery.spec import PipelineConfig


def load_secrets(pipeline: PipelineConfig) -> None:
    """Set the variables that `secrets` names, but for those that the environment has already.

    Raises:
        ConfigError: a block that is not there, or holds no text.
    """
    for variable, block in pipeline.secrets.items():
        if variable in os.environ:
            continue
        try:
            held: Any = Secret.load(block)
        except ValueError as error:
            way = f"make it, or set {variable} where this runs"
            raise ConfigError(f"secrets: {variable}: Prefect has no Secret block {block!r}; {way}") from error
        value = held.get()
        if not isinstance(value, str):
            raise ConfigError(f"secrets: {variable}: the Secret block {block!r} holds no text; write text in it")
        os.environ[variable] = value
