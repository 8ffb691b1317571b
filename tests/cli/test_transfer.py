"""The bar of a file that comes from elsewhere."""

import io

from rich.console import Console

from cli.transfer import transferring


def shown(is_terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=is_terminal, width=120, color_system=None)
    with transferring(console, "fetch [red]the weights") as told:
        told(50_000_000, None)
        for done in (60_000_000, 80_000_000, 100_000_000):
            told(done, 340_000_000)
    return out.getvalue()


def test_who_watches_sees_bytes_and_speed_and_then_nothing_is_left() -> None:
    told = shown(is_terminal=True)
    assert "fetch [red]the weights" in told
    assert "100.0/340.0 MB" in told
    assert "/s" in told
    # The line is cleared at the end.
    assert told.rstrip().endswith("\x1b[2K")


def test_where_nobody_watches_nothing_is_drawn() -> None:
    assert shown(is_terminal=False).strip() == ""
