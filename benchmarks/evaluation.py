"""Time an evaluation: 100 JPEGs of 800 x 1333 through the predict stage's loop, beside the network alone.

    python benchmarks/evaluation.py [--images N] [--threads 1 2] [--json FILE]

A full-size Mask R-CNN (80 classes, random weights, scores spread until 100 detections come out) runs in the torch
runtime. In turns of ten images the network has them alone, read beforehand and with nothing written down, and then the
loop has them from their files to COCO's results. So a noisy minute is both's, and a loop begins and ends ten times as
often as in an evaluation. Prints a table for each number of threads: seconds of the network alone and of the loop, what
the loop takes on top, what the network's calls took within it, and what each step takes by itself. Ends with 1 where
more than 15 % is on top.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import full_size
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

HEIGHT, WIDTH = 800, 1333
TURN = 10
MOST_ON_TOP = 0.15
_SHOWN = {
    "network": "network alone",
    "loop": "the loop, from files to results",
    "calls": "the network's calls in the loop",
    "read": "by itself: decode and resize",
    "write": "by itself: masks to run lengths",
    "pasted": "by itself: masks pasted whole and encoded, as before",
}


def draw_images(folder: Path, count: int) -> Path:
    """JPEGs of coloured rectangles on noise, the same each time; gives the file of their COCO annotations."""
    generator = np.random.default_rng(0)
    (folder / "images").mkdir()
    images = []
    for number in range(1, count + 1):
        pixels = generator.integers(90, 160, (HEIGHT, WIDTH, 3), np.uint8)
        for _ in range(40):
            top, left = generator.integers(0, HEIGHT - 40), generator.integers(0, WIDTH - 40)
            height, width = generator.integers(20, 400, 2)
            pixels[top : top + height, left : left + width] = generator.integers(0, 255, 3)
        name = f"{number:012}.jpg"
        Image.fromarray(pixels).save(folder / "images" / name, quality=90)
        images.append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
    categories = [{"id": number, "name": f"class {number}"} for number in range(1, 81)]
    annotations = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}]
    file = folder / "instances.json"
    file.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
    return file


def measure_once(folder: Path) -> dict[str, Any]:
    """Seconds of all images, in this process with its threads."""
    import torch

    from roastery.caffe2.model import Caffe2Model
    from roastery.config import load_config
    from roastery.data.coco import load_coco
    from roastery.data.preprocess import to_input
    from roastery.evaluation.coco import to_coco_results
    from roastery.evaluation.helpers import helper_threads
    from roastery.evaluation.predict import detect
    from roastery.postprocess.masks import pasting_later

    config = load_config(folder / "config.yaml")
    dataset = load_coco("drawn", folder / "images", folder / "instances.json")
    seconds: dict[str, float] = dict.fromkeys(_SHOWN, 0.0)
    detections = 0

    def timed(step: str, task: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = task()
        seconds[step] += time.perf_counter() - started
        return result

    with Caffe2Model.load_protobuf(folder) as model, pasting_later():
        # The first call compiles the net.
        model([to_input(dataset.images[0], config)])
        for start in range(0, len(dataset.images), TURN):
            records = dataset.images[start : start + TURN]
            inputs = [timed("read", partial(to_input, record, config)) for record in records]
            found = [timed("network", partial(model, [single]))[0]["instances"] for single in inputs]
            for record, instances in zip(records, found, strict=True):
                timed("write", partial(to_coco_results, record.id, instances, dataset.category_ids))
                instances.pred_masks = timed("pasted", instances.pred_masks.paste)
                timed("pasted", partial(to_coco_results, record.id, instances, dataset.category_ids))
            del inputs, found
            ids = [record.id for record in records]
            done = timed("loop", partial(detect, model, dataset, ids, config, dataset.category_ids))
            assert not done.failures, done.failures
            seconds["calls"] += sum(done.milliseconds) / 1000
            detections += len(done.detections)
    return {
        "threads": torch.get_num_threads(),
        "helpers": helper_threads(),
        "images": len(dataset.images),
        "detections_an_image": detections / len(dataset.images),
        "seconds": seconds,
        "on_top": seconds["loop"] / seconds["network"] - 1,
        "calls_on_top": seconds["calls"] / seconds["network"] - 1,
    }


def measure(folder: Path, threads: int) -> dict[str, Any]:
    """In a process of its own, of so many threads."""
    settings = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    command = [sys.executable, __file__, "--once", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | settings)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def show(figures: Sequence[dict[str, Any]]) -> None:
    """Print a table for each number of threads."""
    console = Console()
    for each in figures:
        table = Table(
            title=f"{each['images']} images of {HEIGHT} x {WIDTH}, {each['detections_an_image']:.0f} detections each: "
            f"{each['threads']} threads, {each['helpers']} helpers"
        )
        for heading in ("", "seconds", "ms an image", "of the network"):
            table.add_column(heading, justify="right" if heading else "left")
        for step, name in _SHOWN.items():
            took = each["seconds"][step]
            share = took / each["seconds"]["network"]
            table.add_row(name, f"{took:.1f}", f"{took / each['images'] * 1000:.0f}", f"{share:.1%}")
        console.print(table)
        console.print(f"on top of the network: {each['on_top']:.1%}, of which its own calls {each['calls_on_top']:.1%}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Time an evaluation beside the network alone.")
    parser.add_argument("--images", type=int, default=100, help="how many (default 100)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads (default 1 and 2)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        sys.stdout.write(json.dumps(measure_once(arguments.once)))
        return 0
    with tempfile.TemporaryDirectory(prefix="roastery-bench-") as name:
        folder = Path(name)
        with Console(stderr=True).status("converting"):
            full_size.save("Mask R-CNN", folder)
            draw_images(folder, arguments.images)
        figures = [measure(folder, threads) for threads in arguments.threads]
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if any(each["on_top"] > MOST_ON_TOP for each in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
