"""Words from files and users on a terminal."""

from rich.markup import escape


def plain(text: str) -> str:
    """Text from a file or a user: nothing in it is markup, and what a terminal would obey is shown as a sign."""
    return escape("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text))
