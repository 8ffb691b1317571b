"""Run by genuine Caffe2's interpreter: answers a folder's cases, as the golden cases were answered.

`cases.json` holds [{"op", "n_in", "n_out", "args"}, ...], `<i>.npz` the inputs in0.. of case i; this adds
`<i>.answer.npz` with out0.., or nothing where Caffe2 refuses.
"""

import json
import sys
from pathlib import Path

import numpy as np
from caffe2.python import core, workspace

folder = Path(sys.argv[1])
for index, case in enumerate(json.loads((folder / "cases.json").read_text())):
    arrays = np.load(folder / f"{index}.npz")
    workspace.ResetWorkspace()
    inputs = [f"in{i}" for i in range(case["n_in"])]
    outputs = [f"out{i}" for i in range(case["n_out"])]
    for name in inputs:
        workspace.FeedBlob(name, arrays[name])
    try:
        workspace.RunOperatorOnce(core.CreateOperator(case["op"], inputs, outputs, **case["args"]))
    except RuntimeError:
        continue
    np.savez(folder / f"{index}.answer.npz", **{name: workspace.FetchBlob(name) for name in outputs})
