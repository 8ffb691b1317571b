"""What mkdocs calls while it builds the site: the generated pages, and a check that nothing comes from elsewhere."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

from docs_commands import commands_page
from docs_configs import configs_page
from docs_zoo import zoo_page
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# Under mkdocs' own name: with --strict a warning is an error.
_logger = logging.getLogger("mkdocs.hooks.roastery")

GENERATED: dict[str, Callable[[], str]] = {
    "reference/command-line.md": commands_page,
    "reference/configs.md": configs_page,
    "reference/model-zoo.md": zoo_page,
}
"""Page to what writes it."""

_LOADED = re.compile(r"<(?:script|img|link|iframe)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, as if they lay in `docs`."""
    for name, write in GENERATED.items():
        files.append(File.generated(config, name, content=write()))
    return files


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Warn of a page that a browser without a network would not show whole."""
    for address in loaded_from_elsewhere(output):
        _logger.warning("%s loads %s; the site must work without a network", page.file.src_uri, address)
    return output


def on_post_build(config: MkDocsConfig) -> None:
    """Leave the search index as a script too: a page that is read from the file system may not read JSON."""
    index = Path(config.site_dir, "search", "search_index.json")
    index.with_suffix(".js").write_text(f"var __index = {index.read_text(encoding='utf-8')}", encoding="utf-8")


def loaded_from_elsewhere(html: str) -> list[str]:
    """Addresses of scripts, styles, pictures and frames that a page loads from another host."""
    return _LOADED.findall(html)
