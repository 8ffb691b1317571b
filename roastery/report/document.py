"""The blocks that a report is made of. What they say is decided once, and each form shows them in its own way.

Text in them is as it came, from whatever file: a form escapes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Tone = Literal["plain", "good", "bad", "notable"]
"""`bad`: the gate failed on it. `notable`: as far off, where the gate does not judge."""
MARKS: Mapping[Tone, str] = {"plain": "", "good": "", "bad": "\u2715", "notable": "\u25b3"}
"""So that a tone is no matter of colour alone: a cross and a triangle."""

Kind = Literal["text", "number", "code"]


@dataclass(frozen=True)
class Column:
    """A column of a table; digests are code."""

    title: str
    kind: Kind = "number"


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        share: 0..1, of the largest in its column: a page may draw it as a bar.
    """

    text: str
    tone: Tone = "plain"
    share: float | None = None


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row names the row.

    Attributes:
        folded: what the table is called where it is long, so that a page may fold it away; "" for one that is not.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    folded: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Listing:
    """A list of sentences, of which some may have been left out.

    Attributes:
        more: what is said of those; "" where there are none.
    """

    items: Sequence[str]
    more: str = ""


@dataclass(frozen=True)
class Tally:
    """How often each thing occurs, the most frequent first."""

    sentence: str
    counts: Sequence[tuple[str, int]]


@dataclass(frozen=True)
class Picture:
    """A picture that lies beside the report: PNG, or SVG that Roastery drew."""

    path: Path
    alt: str
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Pictures that belong together."""

    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Command:
    """A command for a shell."""

    text: str


Block = Heading | Prose | Listing | Table | Tally | Gallery | Command


@dataclass(frozen=True)
class Section:
    """A part of a report. `anchor` is lower-case letters and dashes."""

    title: str
    anchor: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: the model's name.
        headline: the verdict in one sentence.
        reasons: why the gate failed.
        lead: what was compared with what.
    """

    title: str
    passed: bool
    headline: str
    reasons: Listing
    lead: str
    sections: Sequence[Section]


def one_line(text: str) -> str:
    """Any text on one line. What cannot be seen (controls, marks that turn the writing round) is shown as a sign."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(text.split()))
