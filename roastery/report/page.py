"""A report as one HTML page: pictures, curves and style are in it, and nothing is fetched or executed.

Everything that the template shows is escaped, but for what is made here: the style, the drawings, data addresses.
"""

import base64
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from roastery.report.curves import GRID, INK, METRIC_COLOURS, MUTED, PAPER
from roastery.report.document import MARKS, Document, Picture, one_line

_TEMPLATE = "page.html.j2"
_STYLE = "page.css"
# What a page in the dark has other colours for; page.css says which.
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "line", PAPER: "card"} | {
    colour: f"curve-{metric.lower()}" for metric, colour in METRIC_COLOURS.items()
}


def to_page(document: Document) -> str:
    """The whole page. Its pictures must lie where the document says."""
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["embedded"] = _embedded
    environment.globals["marks"] = MARKS
    environment.globals["kind"] = lambda block: type(block).__name__
    style = Markup((folder / _STYLE).read_text(encoding="utf-8"))  # noqa: S704  (our own file)
    return environment.get_template(_TEMPLATE).render(document=document, style=style)


def _shown(value: Any) -> Any:
    """Every value that the template writes: text from outside on one line, so that no sign in it is unseen."""
    return one_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _embedded(picture: Picture) -> Markup:
    """A picture as an element that needs nothing beside the page."""
    if picture.path.suffix == ".svg":
        return _inline(picture)
    data = base64.b64encode(picture.path.read_bytes()).decode("ascii")
    alt = escape(one_line(picture.alt))
    return Markup('<img src="data:image/png;base64,{}" alt="{}">').format(data, alt)


def _inline(picture: Picture) -> Markup:
    """A drawing of `draw_curves`, which has no text from outside, in the page's colours and of the page's width."""
    text = picture.path.read_text(encoding="utf-8")
    # The declaration and the document type before the element are a file's, not a page's.
    head, body = re.fullmatch(r".*?(<svg\b[^>]*>)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    box = re.search(r'viewBox="[\d. ]+"', head).group()  # type: ignore[union-attr]
    # Names of groups, the same in every drawing; a page has an id once. What is referred to is named by its content.
    body = re.sub(r'<g id="[^"]*">', "<g>", body)
    # A drawing's style would be the whole page's; it is in the page's own.
    body = re.sub(r"<style\b.*?</style>", "", body, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    label = escape(one_line(picture.alt))
    return Markup('<svg {} role="img" aria-label="{}">').format(Markup(box), label) + Markup(body)  # noqa: S704
