"""The command that reproduces a conversion, without a path of the machine that it was made on."""

import ast
import json
import shlex
from collections.abc import Sequence
from pathlib import PurePath

from roastery.report.files import CONFIG_FILE
from roastery.results import ModelSource
from roastery.spec import ExportSpec
from roastery.weights.address import is_address

OUTPUT = "reproduced"
_USUAL = ExportSpec()


def reproducing_command(
    weights: str,
    dataset: str,
    runtimes: Sequence[str],
    export: ExportSpec = _USUAL,
    source: ModelSource | None = None,
    target: str = "caffe2",
) -> str:
    """The command line, for a shell, over two lines.

    Args:
        weights: address of the checkpoint, or its path, of which the file's name alone is taken.
        dataset: name of the registered dataset.
        runtimes: that judged: "torch", "caffe2".
        export: what kind of net was made.
        target: what it was converted to.
        source: how the model was built, where that takes more than its config; its files' names alone are taken.
    """
    config = CONFIG_FILE if source is None else PurePath(source.config).name
    options = ["--config-file", config, "--output", OUTPUT, "--run-eval"]
    if target == "caffe2":
        options += ["--runtime", runtimes[0] if len(runtimes) == 1 else "both"]
    else:
        options += ["--target", target]
    options += ["--batch", str(export.batch)] if export.batch > 1 else []
    options += ["--decode"] if export.decode else []
    checkpoint = _as_string(weights if is_address(weights) else PurePath(weights).name)
    overrides = ["MODEL.WEIGHTS", checkpoint, "DATASETS.TEST", f"({json.dumps(dataset)},)"]
    if source is not None:
        options += ["--source", source.kind]
        options += [word for module in source.custom_modules for word in ("--custom-module", module)]
        if config.endswith(".py"):
            overrides = ["train.init_checkpoint", checkpoint, "dataloader.test.dataset.names", dataset]
        overrides = [*source.overrides, *overrides]
    return f"{shlex.join(['roastery', 'convert', *options])} \\\n    {shlex.join(overrides)}"


def _as_string(text: str) -> str:
    """An override that the config reads as this string: what is a Python literal would be read as that."""
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return repr(text)
