"""What is fuzzed: for each kind of input, the way that the product takes with it.

A reader is given the folder of the input, a folder that it may write to, and what it is told beside. It returns, or
raises a `UserError`; nothing else.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

Reader = Callable[[Path, Path, list[str]], None]


def read_checkpoint(folder: Path, written: Path, told: list[str]) -> None:
    from roastery.checkpoint import load_checkpoint

    load_checkpoint(folder / told[0], *told[1:])


def read_config(folder: Path, written: Path, told: list[str]) -> None:
    from roastery.config import dump_config, load_config
    from roastery.errors import UserError

    text = dump_config(load_config(folder / "config.yaml", told))
    # What is let through can be pinned: written down, and read again as the same.
    (written / "config.yaml").write_text(text, encoding="utf-8")
    try:
        same = dump_config(load_config(written / "config.yaml")) == text
    except UserError as error:
        raise AssertionError(f"a config that was read cannot be read again: {error}") from error
    if not same:
        raise AssertionError("a config is another one when it is read again")


def read_specs(folder: Path, written: Path, told: list[str]) -> None:
    from roastery.spec import load_datasets, load_models, load_pipeline

    load = {"models": load_models, "datasets": load_datasets, "pipeline.yaml": load_pipeline}
    load[told[0]](folder / told[0])


def read_netdef(folder: Path, written: Path, told: list[str]) -> None:
    import numpy as np

    from roastery.caffe2.draw import DRAWING_FILE, draw_svg
    from roastery.caffe2.nets import load_nets
    from roastery.caffe2.torch_runtime import TorchRuntime
    from roastery.errors import DrawingUnavailable, OperatorError, RuntimeFailed, UserError

    nets = load_nets(folder)
    refusal = None
    inputs = {"data": np.ones((1, 3, 8, 8), np.float32), "im_info": np.array([[8, 8, 1]], np.float32)}
    try:
        # That an operator refuses what another gives it is no refusal of the net.
        with TorchRuntime(nets) as runtime, contextlib.suppress(OperatorError, RuntimeFailed):
            runtime.run(inputs)
    except UserError as error:
        refusal = error
    # A net that cannot be run can still be looked at.
    try:
        draw_svg(nets.predict_net, written / DRAWING_FILE)
    except DrawingUnavailable as error:
        raise AssertionError("a net cannot be drawn") from error
    check_drawing(written / DRAWING_FILE)
    if refusal is not None:
        raise refusal


def check_drawing(path: Path) -> None:
    """An SVG that a browser may open: nothing in it acts, or leads elsewhere."""
    for element in ElementTree.parse(path).iter():
        tag = element.tag.rpartition("}")[2]
        if tag not in ("svg", "g", "title", "text", "polygon", "polyline", "path", "ellipse"):
            raise AssertionError(f"the drawing has an element {tag!r}")
        for name in element.attrib:
            if "href" in name or name.lower().startswith("on"):
                raise AssertionError(f"the drawing has an attribute {name!r}")


def read_onnx(folder: Path, written: Path, told: list[str]) -> None:
    from roastery.caffe2.convert import convert
    from roastery.caffe2.nets import save_nets
    from roastery.export.onnx import load_onnx

    save_nets(convert(load_onnx(folder / "model.onnx")), written)


def read_standard_onnx(folder: Path, written: Path, told: list[str]) -> None:
    import numpy as np

    from roastery.errors import OperatorError, RuntimeFailed
    from roastery.onnx_runtime.files import load_model, save_model
    from roastery.onnx_runtime.runtime import OnnxRuntime

    model = load_model(folder)
    inputs = {
        "data": np.ones((1, 3, 8, 8), np.float32),
        "m": np.ones((3, 5), np.float32),
        "v": np.ones((1, 2), np.float32),
    }
    # One thread: the process is forked, and threads are not. That an operator refuses what it gets is no refusal.
    with OnnxRuntime(model, threads=1) as runtime, contextlib.suppress(OperatorError, RuntimeFailed):
        runtime.run(inputs)
    save_model(model, written)


def read_coco(folder: Path, written: Path, told: list[str]) -> None:
    from pycocotools import mask as coco_mask

    from roastery.data.coco import load_coco
    from roastery.evaluation.coco import measure_coco

    images = folder / "images"
    dataset = load_coco("hostile", images, folder / "annotations.json")
    outside = [str(image.path) for image in dataset.images if not image.path.resolve().is_relative_to(images.resolve())]
    if outside:
        raise AssertionError(f"images outside of their folder: {outside}")
    assert dataset.digest
    # What is let through can be measured on: pycocotools reads it again, in C.
    image = dataset.images[0]
    size = [image.height, image.width]
    mask = coco_mask.frPyObjects({"size": size, "counts": [0, image.height * image.width]}, *size)
    found = {"image_id": image.id, "category_id": dataset.category_ids[0], "score": 0.5, "bbox": [0.0, 0.0, 2.0, 2.0]}
    measure_coco(dataset, [{**found, "segmentation": mask}])


def read_panoptic(folder: Path, written: Path, told: list[str]) -> None:
    from roastery.data.panoptic import load_panoptic
    from roastery.evaluation.panoptic import measure_panoptic

    folders = (folder / "masks", folder / "labels")
    truth = load_panoptic(folder / "annotations.json", *folders)
    for image in truth.images:
        for path, root in zip((image.mask, image.labels), folders, strict=True):
            if not path.resolve().is_relative_to(root.resolve()):
                raise AssertionError(f"{path} lies outside of its folder")
    assert truth.digest
    # What is let through can be measured on.
    figures = measure_panoptic(truth, [])["panoptic_seg"]
    assert not any(value > 0 for value in figures.values())


def read_pascal_voc(folder: Path, written: Path, told: list[str]) -> None:
    from roastery.data.pascal_voc import load_pascal_voc
    from roastery.evaluation.coco import measure_coco

    images = folder / "VOC/JPEGImages"
    dataset = load_pascal_voc("hostile", images, folder / "VOC/ImageSets/Main/val.txt")
    assert all(image.path.resolve().is_relative_to(images.resolve()) for image in dataset.images)
    assert dataset.digest
    # What is let through can be measured on.
    found = {"image_id": dataset.images[0].id, "category_id": 12, "score": 0.5, "bbox": [0.0, 0.0, 2.0, 2.0]}
    measure_coco(dataset, [found], ["bbox"])


def read_lvis(folder: Path, written: Path, told: list[str]) -> None:
    from roastery.data.lvis import load_lvis
    from roastery.evaluation.coco import measure_coco

    dataset = load_lvis("hostile", folder / "coco", folder / "lvis.json")
    assert all(image.path.resolve().is_relative_to((folder / "coco").resolve()) for image in dataset.images)
    assert dataset.digest
    # What is let through can be measured on.
    found = {"image_id": dataset.images[0].id, "category_id": dataset.category_ids[0], "score": 0.5}
    measure_coco(dataset, [{**found, "bbox": [0.0, 0.0, 2.0, 2.0]}], ["bbox"])


def read_frames(folder: Path, written: Path, told: list[str]) -> None:
    from roastery.caffe2.array_frames import pack, unpack
    from roastery.errors import UserError

    try:
        header, arrays = unpack((folder / "frames").read_bytes())
    except ValueError as error:
        # What it promises; the runtime in front of it makes a RoasteryError of it.
        raise UserError(f"frames: {str(error)!a}") from None
    assert unpack(pack(header, arrays))[0] == header


def read_flavor(folder: Path, written: Path, told: list[str]) -> None:
    from roastery.digest import file_sha256
    from roastery.registry.flavor_files import check_files, read_entry, read_vocabulary

    entry = read_entry(folder)
    # A stranger knows the digests of his own files.
    said = {name: file_sha256(folder / name) for name in entry.files if not told and (folder / name).is_file()}
    entry = entry.model_copy(update={"files": {**entry.files, **said}})
    check_files(folder, entry)
    vocabulary = read_vocabulary(folder, entry)
    assert all(vocabulary.name(index) for index in range(len(vocabulary.names)))


READERS: dict[str, Reader] = {
    "checkpoint": read_checkpoint,
    "config": read_config,
    "specs": read_specs,
    "netdef": read_netdef,
    "onnx": read_onnx,
    "standard_onnx": read_standard_onnx,
    "coco": read_coco,
    "lvis": read_lvis,
    "panoptic": read_panoptic,
    "pascal_voc": read_pascal_voc,
    "frames": read_frames,
    "flavor": read_flavor,
}
