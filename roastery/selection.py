"""TEMPORARY"""

from typing import Literal

from pydantic import BaseModel

Only = Literal["all", "new", "changed", "new or changed"]


class Selection(BaseModel):
    names: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    only: Only = "all"


def select(models, selection, converted):
    return [models[name] for name in selection.names or models]
