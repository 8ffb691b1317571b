"""Addresses in configs: of stores, registries and checkpoints. No secret stands in one.

What stands in a config is read by many, and told in logs, reports and errors. Secrets come from the environment, which
each library reads by itself, or from Prefect's blocks.
"""

import re
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

SECRET_ERROR = "secret_in_address"  # noqa: S105  (a kind of error)

_SECRET_NAME = re.compile(r"pass|pwd|token|secret|signature|credential|key|^sig$", re.IGNORECASE)
_WAY_OUT = (
    "keep it out of configs: the environment has MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for MLflow, "
    "PGPASSWORD for PostgreSQL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for S3"
)


def _without_secret(address: str) -> str:
    try:
        parts = urlsplit(address)
        password = parts.password
    except ValueError:
        # No URL (a folder may be called anything).
        return address
    if password is not None:
        raise PydanticCustomError(SECRET_ERROR, "holds a password; {way}", {"way": _WAY_OUT})
    named = [name for name, _ in parse_qsl(parts.query) if _SECRET_NAME.search(name)]
    if named and parts.scheme:
        raise PydanticCustomError(SECRET_ERROR, "holds a secret; {way}", {"way": _WAY_OUT})
    return address


Address = Annotated[str, AfterValidator(_without_secret)]
"""A folder, a path, or a URL without a password or another secret in it."""
