"""Programs that Roastery starts where they are: genuine Caffe2's interpreter, and graphviz."""

import os
import shutil
import subprocess

from roastery.caffe2.caffe2_runtime import PYTHON_VARIABLE, find_caffe2_python
from roastery.doctor.child import ask
from roastery.doctor.finding import Finding
from roastery.errors import Caffe2Unavailable

# Its import prints, so the answer comes last.
_CAFFE2 = """
import json, platform
from caffe2.python import workspace
import torch
print(json.dumps([torch.__version__, platform.python_version(), len(workspace.RegisteredOperators())]))
"""
_DOT_SECONDS = 20.0


def look_at_caffe2() -> Finding:
    """The interpreter that has genuine Caffe2, asked for its version."""
    name = "genuine Caffe2"
    try:
        python = find_caffe2_python()
    except Caffe2Unavailable as error:
        what, _, way_out = str(error).rpartition("; ")
        return Finding(name, "wrong" if os.environ.get(PYTHON_VARIABLE) else "missing", what, way_out)
    said = ask(_CAFFE2, (str(python), "-I"))
    if said.error:
        way_out = f"run `make caffe2`, or name another interpreter in {PYTHON_VARIABLE}"
        return Finding(name, "wrong", f"{python}: {said.error}", way_out)
    release, of_python, operators = said.answer
    return Finding(name, "ok", f"of PyTorch {release}, {operators} operators, on Python {of_python}: {python}")


def look_at_graphviz() -> Finding:
    """graphviz's `dot`, which draws model.svg."""
    name, way_out = "graphviz", "install graphviz (Debian: `apt install graphviz`)"
    dot = shutil.which("dot")
    if dot is None:
        return Finding(name, "missing", "no `dot`: conversions go on without model.svg", way_out)
    try:
        ended = subprocess.run(
            [dot, "-V"], check=False, capture_output=True, text=True, errors="replace", timeout=_DOT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return Finding(name, "wrong", f"{dot}: timed out: no answer within {_DOT_SECONDS:g} s", way_out)
    except OSError as error:
        return Finding(name, "wrong", f"{dot}: {error.strerror}", way_out)
    # "dot - graphviz version 2.43.0 (0)", on stderr.
    said = (ended.stderr or ended.stdout).strip().splitlines()
    release = said[-1].rpartition("version ")[2].partition(" ")[0] if said else ""
    if ended.returncode or not release:
        return Finding(name, "wrong", f"{dot}: {said[-1] if said else 'it said nothing'}", way_out)
    return Finding(name, "ok", f"{release}: {dot}")
