"""Run a program, and end it when stdin ends: `python -m cli.kept_process PROGRAM ARGUMENT...`.

Stdin is a pipe of whoever started it, which the operating system closes in whatever way that one ends. The program gets
SIGTERM then, and after a while SIGKILL. What it had started goes with it, whatever sessions that has made for itself.
"""

import os
import subprocess
import sys
import threading
from contextlib import suppress

import psutil

GRACE_SECONDS = 15.0


def main() -> None:
    """Run it; the exit code is the program's."""
    program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    ending = threading.Lock()
    threading.Thread(target=_end_with_stdin, args=(psutil.Process(program.pid), ending), daemon=True).start()
    code = program.wait()
    # Where it ends because it was told to, what it started may not have ended yet.
    with ending:
        os._exit(code if code >= 0 else 128 - code)


def _end_with_stdin(program: psutil.Process, ending: threading.Lock) -> None:
    while os.read(0, 1024):
        pass
    with ending:
        started = _tree(program)
        with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            program.terminate()
            program.wait(GRACE_SECONDS)
        for process in {*started, *_tree(program)}:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _tree(program: psutil.Process) -> list[psutil.Process]:
    """The program and all that it started, as far as they run."""
    with suppress(psutil.NoSuchProcess):
        return [program, *program.children(recursive=True)]
    return []


if __name__ == "__main__":
    main()
