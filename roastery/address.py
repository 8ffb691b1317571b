"""Addresses in configs: of stores, registries and checkpoints. No secret stands in one.

What stands in a config is read by many, and told in logs, reports and errors. Secrets come from the environment, which
each library reads by itself, or from Prefect's blocks.
"""

import re
from typing import Annotated
from urllib.parse import unquote

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

SECRET_ERROR = "secret_in_address"  # noqa: S105  (a kind of error)

_SECRET_NAME = re.compile(r"pass|pwd|token|secret|signature|credential|key|^sig$", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# SQLAlchemy takes a password with '/', '?', '#' or '[' in it, which `urlsplit` does not see.
_PASSWORD = re.compile(r"://[^/?#:\[]*:(?P<password>.*)@", re.DOTALL)
_DATABASE = re.compile(r"(postgresql|mysql|mssql)\b")
_PORT = re.compile(r"[0-9]*[/?#]")
_NAME = re.compile(r"[?&;#]([^=?&;#]*)=")
_NAMED = re.compile(r"(?P<name>[?&;#][^=?&;#]*)=[^&;#]*")
_USER = re.compile(r"://[^/?#]*@")
_WAY_OUT = (
    "keep it out of configs: the environment has MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for MLflow, "
    "PGPASSWORD for PostgreSQL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for S3"
)


def _without_secret(address: str) -> str:
    if not _SCHEME.match(address):
        # A folder may be called anything.
        return address
    held = _PASSWORD.search(address)
    # A database's client takes for a password whatever is between a colon and an '@'; others end their host at a slash.
    if held and (_DATABASE.match(address) or not _PORT.match(held["password"])):
        raise PydanticCustomError(SECRET_ERROR, "holds a password; {way}", {"way": _WAY_OUT})
    if any(_SECRET_NAME.search(unquote(name)) for name in _NAME.findall(address)):
        raise PydanticCustomError(SECRET_ERROR, "holds a secret; {way}", {"way": _WAY_OUT})
    return address


Address = Annotated[str, AfterValidator(_without_secret)]
"""A folder, a path, or a URL without a password or another secret in it."""


def masked(address: str) -> str:
    """A URL as it may be told: without its user and password, and without the values of what is named like a secret."""
    held = _PASSWORD.search(address)
    if held and not _PORT.match(held["password"]):
        address = f"{address[: held.start()]}://***@{address[held.end() :]}"
    shown = _USER.sub("://***@", address)
    return _NAMED.sub(
        lambda found: f"{found['name']}=***" if _SECRET_NAME.search(unquote(found["name"])) else found[0], shown
    )
