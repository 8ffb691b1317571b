"""The console that tables are printed on."""

import os

from rich.console import Console


def console() -> Console:
    """A terminal as it is; a file or a pipe has no width that a line would have to fit."""
    made = Console(soft_wrap=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        return Console(width=160)
    return made
