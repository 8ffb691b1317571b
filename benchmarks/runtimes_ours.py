"""Times one of this project's runtimes, a run for each line on stdin (see `runtimes.py`).

python runtimes_ours.py RUNTIME FOLDER INPUTS.npz THREADS
"""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import full_size
import numpy as np
import torch
from numpy.typing import NDArray

Run = Callable[[], int]
"""Does one image, and says how many detections came out."""
Open = Callable[[Path, Mapping[str, NDArray[Any]], int], Run]


def main(runtime: str, folder: Path, inputs: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    with np.load(inputs) as file:
        arrays = {name: file[name] for name in ("data", "im_info")}
    run = RUNTIMES[runtime](folder, arrays, threads)
    print(run(), flush=True)
    for _ in sys.stdin:
        started, used = time.perf_counter(), time.process_time()
        run()
        print(time.perf_counter() - started, time.process_time() - used, flush=True)
    print(_peak_mib())


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def open_reference(folder: Path, arrays: Mapping[str, NDArray[Any]], threads: int) -> Run:
    """detectron2's inference, as far as a net goes: masks of 28 x 28 are not pasted, segments not merged."""
    from roastery.config import load_config
    from roastery.reference.build import build_reference
    from roastery.reference.panoptic_fpn import ReferencePanopticFPN
    from roastery.reference.rcnn import ReferenceRCNN
    from roastery.reference.retinanet import ReferenceRetinaNet
    from roastery.sources.native import load_detector

    config = load_config(folder / "config.yaml")
    (weights,) = folder.glob("model_final.*")
    reference = build_reference(config, load_detector(config, weights))
    height, width = (int(size) for size in arrays["im_info"][0, :2])
    image = torch.from_numpy(arrays["data"][0, :, :height, :width].copy())

    @torch.inference_mode()
    def run() -> int:
        if isinstance(reference, ReferenceRetinaNet):
            return len(reference.detect(image))
        assert isinstance(reference, ReferenceRCNN)
        features = reference.features(image)
        found = len(reference.detect_in(features, (height, width)))
        if isinstance(reference, ReferencePanopticFPN):
            reference.detector.sem_seg_head(features)
        return found

    return run


def open_torch(folder: Path, arrays: Mapping[str, NDArray[Any]], threads: int) -> Run:
    """The NetDef on PyTorch's kernels; a RetinaNet's maps are decoded, as the reference does."""
    from roastery.caffe2.nets import load_nets
    from roastery.caffe2.torch_runtime import TorchRuntime

    nets = load_nets(folder)
    runtime = TorchRuntime(nets, threads=threads)
    return counted(lambda: runtime.run(arrays), folder)


def open_onnx(target: str) -> Open:
    """A target's model in ONNX Runtime."""

    def opened(folder: Path, arrays: Mapping[str, NDArray[Any]], threads: int) -> Run:
        from roastery.onnx_runtime.files import load_model
        from roastery.onnx_runtime.runtime import OnnxRuntime

        runtime = OnnxRuntime(load_model(folder / target), threads)
        return counted(lambda: runtime.run(arrays), folder)

    return opened


def counted(run: Callable[[], Mapping[str, NDArray[Any]]], folder: Path) -> Run:
    """A run of the net in that folder, of its raw outputs by name, that counts detections."""

    from roastery.caffe2.nets import PREDICT_FILE, arguments_of, load_net
    from roastery.net_settings import retinanet_settings
    from roastery.postprocess.retinanet import decode_maps

    settings = retinanet_settings(arguments_of(load_net(folder / PREDICT_FILE)))

    def count() -> int:
        outputs = run()
        if settings is not None and "score_nms" not in outputs:
            return len(
                decode_maps({name: torch.from_numpy(array) for name, array in outputs.items()}, settings)["score_nms"]
            )
        return len(outputs["score_nms"])

    return count


RUNTIMES: dict[str, Open] = {
    "reference": open_reference,
    "torch": open_torch,
    **{target: open_onnx(target) for target in full_size.ONNX_TARGETS},
}
"""A row of the table each: what opens a model's folder (config.yaml, model_final.*, model.onnx, model.pb and
model_init.pb) for those inputs and so many threads. `counted` makes a run of what gives a net's raw outputs."""


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
