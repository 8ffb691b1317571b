"""A report as Markdown."""

import re
from collections.abc import Iterable, Sequence

from roastery.report.document import (
    MARKS,
    Block,
    Cell,
    Column,
    Command,
    Document,
    Gallery,
    Heading,
    Listing,
    Prose,
    Section,
    Table,
    Tally,
    one_line,
)


def to_markdown(document: Document) -> str:
    """The whole report. Pictures are named, not embedded: they lie beside it, and all may be moved together."""
    parts = [f"# {escape(document.title)}: {'passed' if document.passed else 'FAILED'}", _sentence(document.headline)]
    if document.reasons.items:
        parts.append(_listing(document.reasons))
    parts.append(_sentence(document.lead))
    for section in document.sections:
        parts += _section(section)
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Any text as one line of Markdown that reads as it stands, also in a table's cell."""
    line = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*\[\]|~$#])", r"\\\1", line)
    # An underscore within a word is only that: `my_model_r50` stays readable in the file itself.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", line)


def _sentence(text: str) -> str:
    """Text that a line begins with, where some signs would make a list or a rule of it."""
    return re.sub(r"^(\d+(?=[.)](?: |$))|(?=[-+=]))(.)", r"\1\\\2", escape(text))


def _section(section: Section) -> Iterable[str]:
    yield f"## {escape(section.title)}"
    for block in section.blocks:
        yield _block(block)


def _block(block: Block) -> str:
    match block:
        case Heading(text):
            shown = f"### {escape(text)}"
        case Prose(text):
            shown = _sentence(text)
        case Listing():
            shown = _listing(block)
        case Tally(sentence, counts):
            listed = ", ".join(f"{escape(kind)} × {amount}" for kind, amount in counts)  # noqa: RUF001
            shown = f"{_sentence(sentence)}: {listed}."
        case Table():
            shown = f"{_sentence(block.caption)}:\n\n{_table(block)}"
        case Gallery(pictures):
            shown = "\n\n".join(f"![{escape(p.alt)}]({p.path.name})\n\n{_sentence(p.caption)}" for p in pictures)
        case Command(text):
            # Longer than any in it.
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
            shown = f"{fence}sh\n{text}\n{fence}"
    return shown


def _listing(listing: Listing) -> str:
    lines = [*listing.items, listing.more] if listing.more else listing.items
    return "\n".join(f"- {_sentence(line)}" for line in lines)


def _table(table: Table) -> str:
    rules = ["---:" if column.kind == "number" else "---" for column in table.columns]
    rows = [[_cell(cell, column) for cell, column in zip(row, table.columns, strict=True)] for row in table.rows]
    return "\n".join(_line(cells) for cells in [[escape(column.title) for column in table.columns], rules, *rows])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell, column: Column) -> str:
    if column.kind == "code" and re.fullmatch(r"[\w.+-]+", cell.text):
        return f"`{cell.text}`"
    marked = escape(f"{MARKS[cell.tone]} {cell.text}")
    return f"**{marked}**" if cell.tone == "bad" else marked
