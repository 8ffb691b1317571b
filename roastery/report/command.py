"""The command that reproduces a conversion, without a path of the machine that it was made on."""

import ast
import json
import shlex
from collections.abc import Sequence
from pathlib import PurePath

from roastery.report.files import CONFIG_FILE
from roastery.spec import ExportSpec
from roastery.weights.address import is_address

OUTPUT = "reproduced"
_USUAL = ExportSpec()


def reproducing_command(weights: str, dataset: str, runtimes: Sequence[str], export: ExportSpec = _USUAL) -> str:
    """The command line, for a shell, over two lines.

    Args:
        weights: address of the checkpoint, or its path, of which the file's name alone is taken.
        dataset: name of the registered dataset.
        runtimes: that judged: "torch", "caffe2".
        export: what kind of net was made.
    """
    runtime = runtimes[0] if len(runtimes) == 1 else "both"
    options = ["--config-file", CONFIG_FILE, "--output", OUTPUT, "--run-eval", "--runtime", runtime]
    options += ["--batch", str(export.batch)] if export.batch > 1 else []
    options += ["--decode"] if export.decode else []
    overrides = [
        "MODEL.WEIGHTS",
        _as_string(weights if is_address(weights) else PurePath(weights).name),
        "DATASETS.TEST",
        f"({json.dumps(dataset)},)",
    ]
    return f"{shlex.join(['roastery', 'convert', *options])} \\\n    {shlex.join(overrides)}"


def _as_string(text: str) -> str:
    """An override that the config reads as this string: what is a Python literal would be read as that."""
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return repr(text)
