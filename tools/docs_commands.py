"""The page of the command line, from the app itself: every command, argument and option, as `--help` has them."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import typer

from cli.main import app

NAME = "roastery"
_EXAMPLES = "Examples:"
_WIDTH = 76
_LIST = re.compile(r"<list\[(\w+)\]>")
_FACT = re.compile(r"\s*\[(required|default: [^\]]+)\]$")

# Typer's own copy of click is private: its commands, contexts and parameters are `Any` here.


def commands_page() -> str:
    """Markdown: a section for each command, in the order of `roastery --help`."""
    group: Any = typer.main.get_command(app)
    context = group.make_context(NAME, [], resilient_parsing=True)
    parts = [
        "# Command line",
        group.help,
        "The exit codes are those of [Errors and exit codes](../concepts/errors.md).",
        _table("Option", group.get_params(context), context),
    ]
    for name in group.list_commands(context):
        parts += _command(name, group.get_command(context, name), context)
    return "\n\n".join(parts) + "\n"


def _command(name: str, command: Any, above: Any) -> Iterator[str]:
    context = command.make_context(name, [], parent=above, resilient_parsing=True)
    text, _, examples = command.help.partition(_EXAMPLES)
    yield f"## {NAME} {name}"
    yield _fenced([command.get_usage(context).removeprefix("Usage: ")])
    yield text.strip()
    parameters = command.get_params(context)
    for title, kind in (("Argument", "argument"), ("Option", "option")):
        chosen = [parameter for parameter in parameters if parameter.param_type_name == kind]
        if chosen:
            yield _table(title, chosen, context)
    if examples:
        yield "Examples:"
        yield _fenced([_wrapped(line.strip()) for line in examples.splitlines() if line.strip()])


def _table(title: str, parameters: Sequence[Any], context: Any) -> str:
    rows = [f"| {title} | Default | Meaning |", "|---|---|---|"]
    for parameter in parameters:
        record = parameter.get_help_record(context)
        if record is None:
            continue
        name, meaning = record
        # Typer names the whole list; what is typed each time is an entry.
        name = _LIST.sub(lambda match: "..." if title == "Argument" else f"<{match[1].lower()}>", name)
        fact = _FACT.search(meaning)
        default = fact[1].removeprefix("default: ") if fact else ""
        rows.append(f"| {code(name)} | {cell(default)} | {cell(_FACT.sub('', meaning))} |")
    return names_table(rows)


def _wrapped(command: str) -> str:
    """A command in lines that a page has room for, as a shell reads them."""
    return " \\\n    ".join(textwrap.wrap(command, _WIDTH, break_long_words=False, break_on_hyphens=False))


def _fenced(lines: Sequence[str]) -> str:
    return "\n".join(["```", *lines, "```"])


def names_table(rows: Sequence[str]) -> str:
    """A table whose first column has names, which are not broken where there is room."""
    return "\n".join(['<div class="names" markdown>', "", *rows, "", "</div>"])


def code(text: str) -> str:
    """Text as code, also in the cell of a table."""
    return f"`{' '.join(text.split())}`" if text else ""


def cell(text: str) -> str:
    """Text as one line that reads as it stands in the cell of a table; what is in backticks is code."""
    pieces = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(piece if piece.startswith("`") else _escape(piece) for piece in pieces)


def _escape(text: str) -> str:
    return re.sub(r"([\\*_\[\]|])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))
