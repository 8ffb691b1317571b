"""Times our reference, the torch runtime or ONNX Runtime, a run for each line on stdin (see `runtimes.py`).

python runtimes_ours.py reference|torch|onnxruntime FOLDER INPUTS.npz
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch


def main(kind: str, folder: Path, inputs: Path) -> None:
    arrays = np.load(inputs)
    if kind == "reference":
        run = _reference(folder, arrays["data"], arrays["im_info"])
    else:
        run = {"torch": _torch, "onnxruntime": _onnxruntime}[kind](folder, arrays)
    print(run(), flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        run()
        print(time.perf_counter() - started, flush=True)
    print(_peak_mib())


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _reference(folder: Path, data: np.ndarray, im_info: np.ndarray) -> Callable[[], int]:
    from roastery.config import load_config
    from roastery.reference.build import build_reference
    from roastery.sources.native import load_detector

    config = load_config(folder / "config.yaml")
    (weights,) = folder.glob("model_final.*")
    reference = build_reference(config, load_detector(config, weights))
    height, width = (int(size) for size in im_info[0, :2])
    image = torch.from_numpy(data[0, :, :height, :width].copy())
    return lambda: len(reference([{"image": image}])[0]["instances"])


def _torch(folder: Path, arrays: dict[str, np.ndarray]) -> Callable[[], int]:
    from roastery.caffe2.nets import load_nets
    from roastery.caffe2.torch_runtime import TorchRuntime

    runtime = TorchRuntime(load_nets(folder))
    given = {name: arrays[name] for name in ("data", "im_info")}
    return lambda: len(runtime.run(given)["score_nms"])


def _onnxruntime(folder: Path, arrays: dict[str, np.ndarray]) -> Callable[[], int]:
    from roastery.onnx_runtime.files import load_model
    from roastery.onnx_runtime.runtime import OnnxRuntime

    runtime = OnnxRuntime(load_model(folder), threads=torch.get_num_threads())
    given = {name: arrays[name] for name in ("data", "im_info")}
    return lambda: len(runtime.run(given)["score_nms"])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
