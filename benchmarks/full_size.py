"""The full-size models of the benchmarks, as in detectron2's model zoo, with random weights that find something."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roastery.targets import TARGETS

CONFIG = (
    "MODEL:\n  DEVICE: cpu\n  META_ARCHITECTURE: GeneralizedRCNN\n  MASK_ON: true\n"
    "  BACKBONE: {NAME: build_resnet_fpn_backbone}\n"
    "  RESNETS: {DEPTH: 50, OUT_FEATURES: [res2, res3, res4, res5]}\n"
    "  FPN: {IN_FEATURES: [res2, res3, res4, res5]}\n"
    "  ANCHOR_GENERATOR: {SIZES: [[32], [64], [128], [256], [512]], ASPECT_RATIOS: [[0.5, 1.0, 2.0]]}\n"
    "  RPN: {IN_FEATURES: [p2, p3, p4, p5, p6], PRE_NMS_TOPK_TEST: 1000, POST_NMS_TOPK_TEST: 1000}\n"
    "  ROI_HEADS: {NAME: StandardROIHeads, IN_FEATURES: [p2, p3, p4, p5], NUM_CLASSES: 80}\n"
    "  ROI_BOX_HEAD: {NAME: FastRCNNConvFCHead, NUM_FC: 2, POOLER_RESOLUTION: 7}\n"
    "  ROI_MASK_HEAD: {NAME: MaskRCNNConvUpsampleHead, NUM_CONV: 4, POOLER_RESOLUTION: 14}\n"
)
"""A Mask R-CNN R50-FPN of 80 classes."""

ZOO = {
    "Mask R-CNN": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    "RetinaNet": "COCO-Detection/retinanet_R_50_FPN_1x.yaml",
    "Panoptic FPN": "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml",
}
"""The models of R50-FPN that the runtimes are timed with: name to the config in detectron2's zoo."""

ONNX_TARGETS = tuple(name for name in TARGETS if name.startswith("onnxruntime"))
"""Each in a folder of its name; what is rounded is calibrated on two drawn images."""

DETECTIONS = 100
_SCORES = {"GeneralizedRCNN": "roi_heads.box_predictor.cls_score", "RetinaNet": "head.cls_score"}
_ATTEMPTS = 40


def save(name: str, folder: Path) -> None:
    """A model of `ZOO` in `folder`: config.yaml, model_final.safetensors, model.pb and model_init.pb.

    Its weights are drawn, the same each time. Those of the class scores grow until 100 detections come out, most of
    which trained weights would not give: as much work as a crowded photograph is.
    """
    import torch
    from safetensors.torch import save_file

    from model_zoo.configs import CONFIGS, as_overrides
    from roastery.config import load_config
    from roastery.reference.build import build_reference
    from roastery.sources.native import build_detector

    file = folder / "config.yaml"
    file.touch()
    config = load_config(file, [*as_overrides(CONFIGS[ZOO[name]]), "MODEL.DEVICE", "cpu"])
    file.write_text(config.dump())
    torch.manual_seed(0)
    detector = build_detector(config)
    reference = build_reference(config, detector)
    image = torch.from_numpy(draw_image(640, 640))
    scores = _SCORES.get(config.MODEL.META_ARCHITECTURE, _SCORES["GeneralizedRCNN"])
    weight = detector.state_dict()[f"{scores}.weight"]
    if config.MODEL.META_ARCHITECTURE == "RetinaNet":
        # As training begins: else every anchor of every class scores.
        detector.state_dict()[f"{scores}.bias"].fill_(-math.log(1 / config.MODEL.RETINANET.PRIOR_PROB - 1))
    for _ in range(_ATTEMPTS):
        if len(reference([{"image": image}])[0]["instances"]) >= DETECTIONS:
            break
        weight *= 1.5
    else:
        raise SystemExit(f"the random {name} finds nothing, however its scores are spread")
    tensors = {key: tensor.contiguous() for key, tensor in detector.state_dict().items()}
    save_file(tensors, folder / "model_final.safetensors")
    convert(folder, folder)


def convert(source: Path, target: Path) -> None:
    """The nets of the config and checkpoint in `source`, and links to these, in `target`."""
    from roastery.caffe2.convert import convert as to_caffe2
    from roastery.caffe2.nets import save_nets
    from roastery.config import load_config
    from roastery.export.onnx import export_onnx, save_onnx
    from roastery.export.trace import trace
    from roastery.sources.native import load_detector, net_arguments
    from roastery.targets import target_of

    config = load_config(source / "config.yaml")
    (weights,) = source.glob("model_final.*")
    detector = load_detector(config, weights)
    onnx = export_onnx(trace(detector, net_arguments(config, detector)))
    save_onnx(onnx, target / "model.onnx")
    inputs = [_as_inputs(draw_image(*size)) for size in ((640, 640), (800, 1344))]
    for name in ONNX_TARGETS:
        (target / name).mkdir(exist_ok=True)
        target_of(name).convert(target / "model.onnx", target / name, inputs, {})
    # Last: by them it is seen that all is there.
    save_nets(to_caffe2(onnx), target)
    if source != target:
        for file in (source / "config.yaml", weights):
            (target / file.name).symlink_to(file)


def _as_inputs(image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    return {"data": image[None], "im_info": np.array([[*image.shape[1:], 1.0]], np.float32)}


def draw_image(height: int, width: int) -> NDArray[np.float32]:
    """(3, height, width) float32, BGR 0..255: coloured rectangles on noise, the same each time."""
    generator = np.random.default_rng(0)
    image = generator.uniform(90, 160, (3, height, width)).astype(np.float32)
    for _ in range(40):
        (top, left), sides = generator.integers(0, (height - 40, width - 40), 2), generator.integers(20, 240, 2)
        image[:, top : top + sides[0], left : left + sides[1]] = generator.uniform(0, 255, (3, 1, 1))
    return image
