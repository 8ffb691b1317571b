import json

import numpy as np
import pytest


@pytest.fixture(scope="session")
def caffe2_case(golden):
    """Answers of genuine Caffe2 to one operator: (operator, case) to (inputs, outputs, arguments)."""
    listed = json.loads((golden / "ops" / "cases.json").read_text())

    def case(operator, name):
        (entry,) = [entry for entry in listed[operator] if entry["case"] == name]
        arrays = np.load(golden / "ops" / operator / f"{name}.npz")
        inputs = [arrays[f"in{index}"] for index in range(entry["n_in"])]
        outputs = [arrays[f"out{index}"] for index in range(entry["n_out"])]
        return inputs, outputs, entry["args"]

    return case
