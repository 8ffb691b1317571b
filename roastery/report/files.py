"""The names of a report's files, which lie in one folder. Light: nothing is imported."""

MARKDOWN_FILE = "report.md"
PAGE_FILE = "report.html"
CONFIG_FILE = "config.yaml"
"""The model's whole config, which the reproducing command starts from."""
STEM = "report"
"""What the names of pictures begin with: `report-1.png`, `report-curves-bbox.svg`."""
PICTURE_SUFFIXES = (".png", ".svg")
