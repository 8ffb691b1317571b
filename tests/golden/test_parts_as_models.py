"""Trained parts of the demo models as models of their own: an RPN alone, heads over given proposals, semantics alone.

Their figures are known from the whole models: heads over the RPN's own proposals are the detector again.
"""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.torch import save_file

from roastery.caffe2.model import Caffe2Model
from roastery.checkpoint import load_checkpoint
from roastery.config import dump_config, load_config
from roastery.conversion import ConversionOutcome, convert_to_directory
from roastery.data.coco import load_coco
from roastery.data.preprocess import to_input

pytestmark = [pytest.mark.xdist_group("parts"), pytest.mark.caffe2]

IMAGES = 6
RUNTIMES = ("torch", "caffe2")


@pytest.fixture(scope="module")
def few(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Annotations of the demo dataset's first images, objects and segments, and a folder of registered datasets."""
    folder = tmp_path_factory.mktemp("parts")
    paths = {}
    for kind in ("instances", "panoptic"):
        content = json.loads((shapes / "val" / f"{kind}.json").read_text())
        content["images"] = content["images"][:IMAGES]
        ids = {image["id"] for image in content["images"]}
        content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] in ids]
        paths[kind] = folder / f"{kind}.json"
        paths[kind].write_text(json.dumps(content))
    (folder / "datasets").mkdir()
    return paths | {"datasets": folder / "datasets", "images": shapes / "val" / "images"}


def register(few: dict[str, Path], name: str, **more: Path) -> None:
    spec = {"name": name, "images": few["images"], "annotations": few["instances"], **more}
    (few["datasets"] / f"{name}.yaml").write_text(yaml.safe_dump({key: str(value) for key, value in spec.items()}))


@pytest.fixture(scope="module")
def part(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder with the config and the checkpoint of a part of a demo model, which its architecture tells."""

    def take(architecture: str, kept: tuple[str, ...], *overrides: str) -> Path:
        for source in sorted(shapes.glob("*/config.yaml")):
            model = load_config(source).MODEL
            if architecture == model.META_ARCHITECTURE and not model.KEYPOINT_ON:
                break
        folder = tmp_path_factory.mktemp("part")
        (folder / "config.yaml").write_text(dump_config(load_config(source, overrides)))
        tensors = load_checkpoint(source.parent / "model_final.pkl")
        save_file({name: tensor for name, tensor in tensors.items() if name.startswith(kept)}, folder / "w.safetensors")
        return folder

    return take


def converted(folder: Path, few: dict[str, Path], dataset: str) -> ConversionOutcome:
    overrides = ["MODEL.WEIGHTS", str(folder / "w.safetensors"), "DATASETS.TEST", f"('{dataset}',)"]
    outcome = convert_to_directory(
        folder / "config.yaml", folder / "out", overrides, RUNTIMES, run_eval=True, datasets=few["datasets"]
    )
    assert [parity.differences for parity in outcome.parity] == [(), ()]
    assert outcome.evaluation is not None
    assert outcome.passed, outcome.evaluation.verdicts
    return outcome


def figures(outcome: ConversionOutcome, kind: str, metric: str) -> dict[str, Any]:
    assert outcome.evaluation is not None
    return {target: metrics[kind][metric] for target, metrics in outcome.evaluation.metrics.items()}


@pytest.fixture(scope="module")
def proposer(part: Callable[..., Path], few: dict[str, Path]) -> Path:
    """An RPN alone, converted."""
    folder = part("GeneralizedRCNN", ("backbone.", "proposal_generator."), "MODEL.META_ARCHITECTURE", "ProposalNetwork")
    register(few, "few")
    found = figures(converted(folder, few, "few"), "box_proposals", "AR@1000")
    assert found["original"] > 50
    assert all(abs(found[target] - found["original"]) <= 0.05 for target in RUNTIMES)
    return folder


def test_an_rpn_alone_covers_what_its_original_covers(proposer: Path) -> None:
    net = Caffe2Model.load_protobuf(proposer / "out").predict_net
    assert list(net.external_output) == ["rpn_rois", "rpn_roi_probs"]


def test_heads_over_the_proposals_of_the_same_rpn_are_the_detector_again(
    proposer: Path, part: Callable[..., Path], few: dict[str, Path], tmp_path: Path
) -> None:
    whole = part("GeneralizedRCNN", ("",))
    register(few, "few")
    expected = figures(converted(whole, few, "few"), "bbox", "AP")

    # As detectron2 files them, in pixels of the original images.
    config = load_config(proposer / "config.yaml")
    records = load_coco("few", few["images"], few["instances"]).images
    with Caffe2Model.load_protobuf(proposer / "out") as model:
        answers = [model([to_input(record, config)])[0]["proposals"] for record in records]
    content = {
        "ids": [record.id for record in records],
        "boxes": [answer.proposal_boxes.tensor.numpy() for answer in answers],
        "objectness_logits": [answer.objectness_logits.numpy() for answer in answers],
        "bbox_mode": 0,
    }
    (tmp_path / "proposals.pkl").write_bytes(pickle.dumps(content))
    register(few, "proposed", proposals=tmp_path / "proposals.pkl")
    loading = ("MODEL.LOAD_PROPOSALS", "True", "MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals")
    folder = part("GeneralizedRCNN", ("backbone.", "roi_heads."), *loading)
    outcome = converted(folder, few, "proposed")
    found = figures(outcome, "bbox", "AP")
    np.testing.assert_allclose([found[target] for target in found], [expected[target] for target in found], atol=0.05)
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    assert manifest["net"]["inputs"] == ["data", "im_info", "rois"]


def test_a_model_of_semantics_alone_labels_as_the_panoptic_model_does(
    shapes: Path, part: Callable[..., Path], few: dict[str, Path]
) -> None:
    folder = part("PanopticFPN", ("backbone.", "sem_seg_head."), "MODEL.META_ARCHITECTURE", "SemanticSegmentor")
    more = {"panoptic_masks": shapes / "val" / "panoptic", "sem_seg": shapes / "val" / "sem_seg"}
    register(few, "segments", panoptic=few["panoptic"], **more)
    found = figures(converted(folder, few, "segments"), "sem_seg", "mIoU")
    assert found["original"] > 85
    assert all(abs(found[target] - found["original"]) <= 0.05 for target in RUNTIMES)

    # And by the labels alone, as detectron2's `_stuffonly` datasets have them: the same pixels, other names.
    labels = few["datasets"] / "labels"
    labels.mkdir()
    for image in json.loads(few["instances"].read_text())["images"]:
        name = Path(image["file_name"]).with_suffix(".png").name
        shutil.copy(shapes / "val" / "sem_seg" / name, labels / name)
    (few["datasets"] / "stuff.yaml").write_text(
        yaml.safe_dump(
            {"name": "stuff", "format": "coco_stuff", "images": str(few["images"]), "annotations": str(labels)}
        )
    )
    again = figures(converted(folder, few, "stuff"), "sem_seg", "mIoU")
    assert again == found
