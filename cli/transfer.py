"""A bar that fills while a file comes from elsewhere, where someone watches."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cli.plain import plain

if TYPE_CHECKING:
    from roastery.weights.fetch import Told


@contextmanager
def transferring(console: Console, text: str) -> "Iterator[Told]":
    """Bytes, speed and the time that is left; gone when the block ends."""
    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()]
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(plain(text), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
