"""The command line. Every command ends with 0 or one of these exit codes."""

FAILED = 1
"""A conversion or a gate failed, or something broke that may pass."""
MISTAKE = 2
"""Something that the user can mend, said in one line."""
