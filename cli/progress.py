"""Progress on a terminal: a line for each stage that is done, and what is going on now."""

from types import TracebackType

from rich.console import Console
from rich.markup import escape

from flows.progress import Progress


class ConsoleProgress:
    """Prints what it is told. A context manager: the line of what is going on goes when it ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("starting Prefect")

    def __call__(self, progress: Progress) -> None:
        model, stage = escape(progress.model), escape(progress.stage)
        if progress.event == "begins":
            self._status.update(f"{model}: {stage}")
            return
        cost = "[dim]unchanged[/dim]" if progress.cached else f"{progress.seconds:.1f} s"
        self._console.print(f"{model:<24} {stage:<24} {cost}", highlight=False)

    def __enter__(self) -> "ConsoleProgress":
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._status.stop()
