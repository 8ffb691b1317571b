"""Reads inputs under watch: forks a child for each, limits it, and says what became of it.

A request is a line of JSON on stdin, the answer one on stdout. The child is limited in address space, processor time
and the size of what it writes; an audit hook stops what no reader may do, before it is done. That it wrote nothing
elsewhere is looked up afterwards, since a C library tells no hook.
"""

import codecs
import gc
import json
import os
import pwd  # noqa: F401  (`~somebody` asks for it)
import re
import resource
import select
import shutil
import signal
import sys
import traceback
import unicodedata  # noqa: F401  (a literal may name a character)
from pathlib import Path
from typing import Any

from naive_readers import NAIVE_READERS
from readers import READERS

from roastery.errors import UserError

MEMORY = 1 << 30
"""Bytes of address space that a child may take beside what the server has. No input is larger than a few MB."""
FILE_BYTES = 16 << 20
LONGEST_MESSAGE = 4000

FORBIDDEN = (
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.kill", "pty.spawn", "subprocess.Popen"),
    *("socket.", "urllib.Request", "http.client.", "ftplib.", "smtplib.", "webbrowser.", "sqlite3."),
    *("exec", "import", "pickle.find_class", "marshal.", "code.__new__", "function.__new__", "ctypes.dlopen"),
    *("os.chown", "os.link", "os.symlink", "os.truncate", "os.utime", "os.setxattr", "os.rmdir"),
    *("os.chdir", "os.putenv", "shutil.", "tempfile.mkdtemp"),
)
WRITING = ("os.remove", "os.rename", "os.mkdir", "os.chmod")
# Python loads them when they are first asked for.
for _name in (
    "cp437",
    "raw_unicode_escape",
    "unicode_escape",
    "utf-8-sig",
    *(f"utf-{size}{end}" for size in (16, 32) for end in ("", "-le", "-be")),
):
    codecs.lookup(_name)
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# What programs read: the standard library's and the packages' files, and what the system says of itself.
_PROGRAMS = (*{os.path.realpath(path) for path in sys.path if path}, "/proc/", "/sys/", "/dev/urandom", "/usr/")


# What torch.fx compiles of a net's graph: nodes called by names of letters, digits and underscores, and nothing else.
_GRAPH_FILE = re.compile(r"<eval_with_key>\.\d+")
_NAMES = r"(?:\w+(?:, \w+)*,?)?"
_GRAPH_LINE = re.compile(
    "|".join(
        (
            rf"def forward\(self(?:, {_NAMES})?\):",
            rf"\w+ = self\.\w+(?:\({_NAMES}\))?",
            r"\w+ = \w+\[\d+\]",
            r"(?:\w+ = )+None",
            rf"return (?:\w+|\({_NAMES}\))",
            "",
        )
    )
)


def _is_a_graphs(file: Any, source: Any) -> bool:
    """Whether it is a graph's code, each statement of which has one of the forms that such code has."""
    if not isinstance(file, str) or not _GRAPH_FILE.fullmatch(file):
        return False
    text = source.decode() if isinstance(source, bytes) else str(source)
    return all(_GRAPH_LINE.fullmatch(part.strip()) for line in text.splitlines() for part in line.split(";"))


class Watch:
    """The audit hook. It remembers the first thing that is not allowed, and stops each."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.violation = ""
        self.is_over = False
        self.written = request["written"]
        # None: a config may build on a file that lies anywhere.
        self.readable = None if request["reads_anywhere"] else (request["folder"], self.written, *_PROGRAMS)
        self.dot = shutil.which("dot")

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_over and not self._allows(event, arguments):
            self.violation = self.violation or f"{event} {arguments!r:.300}"
            raise PermissionError(f"watched: {event}")

    def _allows(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            path, _, flags = arguments
            # A number is what is open already.
            return isinstance(path, int) or self._may_open(_real(path), flags)
        if event in WRITING:
            return all(_is_below(_real(path), self.written) for path in arguments if isinstance(path, str | bytes))
        if event == "compile":
            # `ast.literal_eval` only parses. What is compiled to be run is an "exec" afterwards.
            return bool(arguments[1] == "<unknown>") or _is_a_graphs(arguments[1], arguments[0])
        if event == "exec" and _GRAPH_FILE.fullmatch(arguments[0].co_filename):
            # Its source was looked at when it was compiled.
            return True
        if event == "subprocess.Popen" and self.dot is not None:
            return bool(arguments[0] == self.dot and arguments[1] == [self.dot, "-Tsvg"])
        return not event.startswith(FORBIDDEN)

    def _may_open(self, path: str, flags: int) -> bool:
        if flags & _WRITE_FLAGS:
            return _is_below(path, self.written) or path == os.devnull
        return self.readable is None or any(_is_below(path, folder) for folder in self.readable)


def _real(path: str | bytes | os.PathLike[str]) -> str:
    return os.path.realpath(os.fsdecode(path))


def _is_below(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


def serve() -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    # What a reader prints is no answer.
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        reader = {**READERS, **NAIVE_READERS}[request["reader"]]
        if request["warm"]:
            # Here, so that every child has what is imported when it is first needed.
            reader(Path(request["folder"]), Path(request["written"]), request["told"])
            gc.collect()
            gc.freeze()
            answer = {"outcome": "value", "message": ""}
        else:
            answer = _read_in_child(reader, request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _read_in_child(reader: Any, request: dict[str, Any]) -> dict[str, str]:
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        os.setsid()
        _read(reader, request, theirs)
    os.close(theirs)
    said = b""
    ended = True
    with os.fdopen(ours, "rb") as pipe:
        while ended and (ended := bool(select.select([pipe], [], [], request["wall_seconds"])[0])):
            piece = os.read(pipe.fileno(), 1 << 16)
            if not piece:
                break
            said += piece
    if not ended:
        os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not ended:
        return {"outcome": "hung", "message": f"did not end within {request['wall_seconds']} s"}
    if os.WIFSIGNALED(status):
        return {"outcome": "killed", "message": signal.Signals(os.WTERMSIG(status)).name}
    if not said:
        return {"outcome": "ended", "message": f"ended with {os.WEXITSTATUS(status)} in the middle of reading"}
    answer: dict[str, str] = json.loads(said)
    return answer


def _read(reader: Any, request: dict[str, Any], pipe: int) -> None:
    """What the child does: all of it, and never return."""
    os.chdir(request["elsewhere"])
    with Path("/proc/self/statm").open() as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (request["cpu_seconds"], request["cpu_seconds"] + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    watch = Watch(request)
    sys.addaudithook(watch)
    try:
        reader(Path(request["folder"]), Path(request["written"]), request["told"])
        answer = {"outcome": "value", "message": ""}
    except UserError as error:
        message = str(error)
        one_line = message.isprintable() and 0 < len(message) <= LONGEST_MESSAGE
        answer = {"outcome": "refused" if one_line else "badly said", "message": message[:LONGEST_MESSAGE]}
    except BaseException as error:
        watch.is_over = True
        answer = {"outcome": "error", "message": f"{type(error).__name__}: {error}"[:1000] + "\n" + _last_frames(error)}
    if watch.violation:
        answer = {"outcome": "forbidden", "message": watch.violation}
    os.write(pipe, json.dumps(answer).encode())
    os._exit(0)


def _last_frames(error: BaseException) -> str:
    return "".join(traceback.format_tb(error.__traceback__)[-4:])


if __name__ == "__main__":
    serve()
