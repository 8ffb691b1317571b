"""A subclass that changes what a net does by operators of its own is refused; one that changes layers is not."""

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roastery.errors import UnsupportedModule
from roastery.sources.live.importing import detectron2
from roastery.sources.live.replaced import REPLACED, kind_of
from roastery.sources.live.slots import detector_of
from roastery.sources.source import Loaded, Source

pytestmark = pytest.mark.detectron2

Live = Callable[..., tuple[Source, Loaded]]


def _parts(model: Any) -> dict[str, Any]:
    heads = model.roi_heads
    return {
        "": model,
        "proposal_generator": model.proposal_generator,
        "proposal_generator.anchor_generator": model.proposal_generator.anchor_generator,
        "proposal_generator.box2box_transform": model.proposal_generator.box2box_transform,
        "roi_heads": heads,
        "roi_heads.box_pooler": heads.box_pooler,
        "roi_heads.box_predictor": heads.box_predictor,
        "roi_heads.mask_head": heads.mask_head,
    }


@pytest.mark.parametrize(
    ("place", "kind", "method"),
    [
        ("", "GeneralizedRCNN", "inference"),
        ("", "GeneralizedRCNN", "preprocess_image"),
        ("proposal_generator", "RPN", "predict_proposals"),
        ("proposal_generator.anchor_generator", "DefaultAnchorGenerator", "forward"),
        ("proposal_generator.box2box_transform", "Box2BoxTransform", "apply_deltas"),
        ("roi_heads", "StandardROIHeads", "_forward_box"),
        ("roi_heads.box_pooler", "ROIPooler", "forward"),
        ("roi_heads.box_predictor", "FastRCNNOutputLayers", "inference"),
        ("roi_heads.mask_head", "BaseMaskRCNNHead", "forward"),
    ],
)
def test_an_overridden_step_is_an_error_that_names_the_module_and_the_method(
    live: Live, mask_model: Path, place: str, kind: str, method: str
) -> None:
    model = live(mask_model)[0]._model  # type: ignore[attr-defined]
    part = _parts(model)[place]
    mine = type("Mine", (type(part),), {method: lambda self, *_, **__: None})
    part.__class__ = mine
    with pytest.raises(UnsupportedModule, match=rf"^{place or 'the model'} \(.*Mine\) overrides {kind}\.{method}"):
        detector_of(model)


def test_a_method_that_one_object_replaces_is_an_override_too(live: Live, mask_model: Path) -> None:
    model = live(mask_model)[0]._model  # type: ignore[attr-defined]
    model.inference = types.MethodType(lambda self, inputs: [], model)
    with pytest.raises(UnsupportedModule, match=r"overrides GeneralizedRCNN\.inference"):
        detector_of(model)


def test_layers_of_a_users_own_are_no_override(live: Live, mask_model: Path) -> None:
    model = live(mask_model)[0]._model  # type: ignore[attr-defined]
    head = model.roi_heads.mask_head
    head.__class__ = type("Mine", (type(head),), {"layers": lambda self, x: type(head).layers(self, x)})
    assert detector_of(model).roi_heads.mask_head is head


@pytest.mark.parametrize("kind", REPLACED)
def test_every_class_of_the_table_is_in_this_detectron2_with_a_method_that_is_replaced(kind: str) -> None:
    module, methods = REPLACED[kind]
    known = getattr(detectron2(module), kind)
    assert any(hasattr(known, method) for method in methods)


def test_the_most_special_kind_is_taken(live: Live, shapes: Path) -> None:
    folder = next(path.parent for path in shapes.glob("*/config.yaml") if "PanopticFPN" in path.read_text())
    model = live(folder)[0]._model  # type: ignore[attr-defined]
    assert kind_of(model, "", ("PanopticFPN", "GeneralizedRCNN")) == "PanopticFPN"
