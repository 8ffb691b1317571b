import numpy as np
import pytest
import torch
from PIL import Image

from roastery.data.vocabulary import Vocabulary, named_classes
from roastery.drawing.colours import shade, stuff_colour, thing_colour
from roastery.errors import DatasetError
from roastery.prediction.picture import draw_found, panoptic_png
from roastery.structures import Boxes, Instances

GREY = 100


@pytest.fixture
def pixels():
    return np.full((400, 600, 3), GREY, np.uint8)


@pytest.fixture
def instances():
    """Three: of scores 0.4, 0.9 and 0.5, of classes 0, 1 and 0."""
    masks = torch.zeros(3, 400, 600, dtype=torch.bool)
    masks[1, 120:180, 320:480] = True
    return Instances(
        (400, 600),
        pred_boxes=Boxes(torch.tensor([[10.0, 20, 90, 90], [300, 100, 500, 200], [100, 200, 200, 300]])),
        scores=torch.tensor([0.4, 0.9, 0.5]),
        pred_classes=torch.tensor([0, 1, 0]),
        pred_masks=masks,
        pred_keypoints=torch.tensor([[[50.5, 50.5, 0.9], [80, 80, 0.9]]] * 3),
    )


def test_what_scores_enough_is_drawn_with_its_mask_and_points(pixels, instances):
    picture, count = draw_found(pixels, {"instances": instances}, Vocabulary(), 0.5)

    drawn = np.asarray(picture)
    assert count == 2
    assert tuple(drawn[150, 300]) == thing_colour(1)
    assert tuple(drawn[250, 100]) == thing_colour(0)
    assert tuple(drawn[90, 50]) == (GREY,) * 3, "the one of 0.4 is not there"
    assert tuple(drawn[150, 400]) == tuple(round(0.6 * GREY + 0.4 * channel) for channel in thing_colour(1))
    # The surer one's point lies over the other's.
    assert tuple(drawn[50, 50]) == thing_colour(1)


def test_all_points_of_a_drawn_detection_are_drawn_and_joined_where_a_skeleton_is_known(pixels, instances):
    vocabulary = Vocabulary("a test", ("a", "b"), (1, 2), bones=((), ((0, 1),)))
    instances.pred_keypoints[:, :, 2] = 0.0

    joined = np.asarray(draw_found(pixels, {"instances": instances}, vocabulary, 0.9)[0])
    alone = np.asarray(draw_found(pixels, {"instances": instances}, Vocabulary(), 0.9)[0])

    assert tuple(joined[80, 80]) == tuple(alone[80, 80]) == thing_colour(1)
    assert tuple(joined[65, 65]) == thing_colour(1)
    assert tuple(alone[65, 65]) == (GREY,) * 3


def test_a_small_image_is_enlarged_with_what_is_on_it(instances):
    small = Instances((40, 60), pred_boxes=Boxes(torch.tensor([[10.0, 20, 30, 30]])), scores=torch.tensor([0.9]))
    small.pred_classes = torch.tensor([0])

    picture, _ = draw_found(np.full((40, 60, 3), GREY, np.uint8), {"instances": small}, Vocabulary(), 0.5)

    assert picture.size == (480, 320)
    assert picture.getpixel((80, 200)) == thing_colour(0)


def test_a_class_without_a_name_is_refused(pixels, instances):
    with pytest.raises(DatasetError, match="class 1"):
        draw_found(pixels, {"instances": instances}, named_classes("a"), 0.5)


def panoptic(instances):
    ids = torch.zeros(400, 600, dtype=torch.int32)
    ids[200:, :] = 4
    ids[20:180, 20:180] = 1
    ids[20:180, 220:380] = 2
    ids[20:180, 420:580] = 3
    infos = [
        {"id": 1, "isthing": True, "category_id": 2, "score": 0.9},
        {"id": 2, "isthing": True, "category_id": 2, "score": 0.8},
        {"id": 3, "isthing": True, "category_id": 0, "score": 0.3},
        {"id": 4, "isthing": False, "category_id": 1},
    ]
    return {"instances": instances, "panoptic_seg": (ids, infos), "sem_seg": torch.zeros(3, 400, 600)}


def test_of_a_panoptic_model_the_segments_are_drawn_and_no_boxes(pixels, instances):
    picture, count = draw_found(pixels, panoptic(instances), Vocabulary(), 0.5)

    def tinted(colour, strength):
        return tuple(round((1 - strength) * GREY + strength * channel) for channel in colour)

    assert count == 3
    assert picture.getpixel((40, 40)) == tinted(thing_colour(2), 0.6)
    assert picture.getpixel((240, 40)) == tinted(shade(thing_colour(2), 1), 0.6)
    assert picture.getpixel((440, 40)) == (GREY,) * 3, "0.3 is under the threshold"
    assert picture.getpixel((300, 390)) == tinted(stuff_colour(0), 0.45)
    assert picture.getpixel((500, 10)) == (GREY,) * 3, "no segment"
    # A corner of a box.
    assert picture.getpixel((300, 199)) != thing_colour(1)


def test_the_map_of_segments_is_cocos():
    ids = torch.tensor([[0, 1], [256, 65536 * 3 + 256 * 2 + 7]], dtype=torch.int32)

    encoded = np.asarray(panoptic_png(ids)).astype(int)

    assert (encoded @ [1, 256, 65536] == ids.numpy()).all()
    assert Image.fromarray(encoded.astype(np.uint8)).getpixel((1, 1)) == (7, 2, 3)
