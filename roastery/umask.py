"""The process's umask: what a file made by `tempfile`, which shuts everybody else out, should have had."""

import os


def current_umask() -> int:
    """The bits that new files are made without. It can only be read by setting it."""
    # For that moment one that another thread's file can bear.
    umask = os.umask(0o022)
    os.umask(umask)
    return umask
