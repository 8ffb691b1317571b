import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex
from torchmetrics.detection import PanopticQuality

from roastery.data.panoptic import load_panoptic
from roastery.errors import DatasetError
from roastery.evaluation.panoptic import measure_panoptic
from roastery.evaluation.segments import segment_rows

CAT, SKY, DOG, GRASS = 10, 20, 30, 40
LABEL_OF = {CAT: 0, SKY: 1, DOG: 0, GRASS: 2}
QUALITIES = ("PQ", "SQ", "RQ", "PQ_th", "SQ_th", "RQ_th", "PQ_st", "SQ_st", "RQ_st")
NAN = math.nan


def rows_of(truth, image_id, ids, categories, labels=None):
    """The rows of segments whose category `categories` says, and of labels: those of the segments, things elsewhere."""
    ids = np.asarray(ids)
    info = [
        {"id": id, "isthing": category in truth.thing_ids, "category_id": truth.thing_ids.index(category)}
        if category in truth.thing_ids
        else {"id": id, "isthing": False, "category_id": truth.stuff_ids.index(category) + 1}
        for id, category in categories.items()
    ]
    return segment_rows(image_id, ids, info, labels_of(ids, categories) if labels is None else labels, truth)


def labels_of(ids, categories, void=0):
    return np.vectorize(lambda id: LABEL_OF[categories[id]] if id in categories else void)(ids)


def approx(*values):
    """Nine qualities, or less in percent, of which NaN is equal to NaN."""
    return pytest.approx([100 * value for value in values], nan_ok=True)


@pytest.fixture
def quality(write_truth):
    """`quality((true ids, true categories), (found ids, found categories))`: the nine figures of one image."""

    def measure(true, found):
        truth = write_truth((*true, np.zeros(np.shape(true[0]))))
        figures = measure_panoptic(truth, rows_of(truth, 1, *found))["panoptic_seg"]
        assert tuple(figures) == QUALITIES
        return list(figures.values())

    return measure


TWO = ([[1, 1, 1, 1, 2, 2, 2, 2]], {1: CAT, 2: SKY})


def test_what_is_found_just_as_it_is_has_quality_100(quality):
    assert quality(TWO, TWO) == approx(*[1] * 9)


def test_a_match_has_the_quality_of_its_iou(quality):
    # The cat: 3 of its 4 pixels and no other, IoU 3 / 4. The sky: 4 pixels of 5, IoU 4 / 5.
    found = ([[1, 1, 1, 2, 2, 2, 2, 2]], {1: CAT, 2: SKY})
    assert quality(TWO, found) == approx((0.75 + 0.8) / 2, (0.75 + 0.8) / 2, 1, 0.75, 0.75, 1, 0.8, 0.8, 1)


def test_an_iou_of_one_half_is_no_match(quality):
    # The cat: 2 of its 4 pixels, IoU 0.5: one is missed and one found for nothing. The sky: 4 of 6, IoU 2 / 3.
    found = ([[1, 1, 2, 2, 2, 2, 2, 2]], {1: CAT, 2: SKY})
    assert quality(TWO, found) == approx(1 / 3, 1 / 3, 1 / 2, 0, 0, 0, 2 / 3, 2 / 3, 1)


def test_a_missed_segment_is_half_an_error(quality):
    # Cats: one matched at IoU 1, one missed: RQ = 1 / (1 + 1/2).
    true = ([[1, 1, 2, 2, 3, 3]], {1: CAT, 2: CAT, 3: SKY})
    assert quality(true, ([[1, 1, 0, 0, 3, 3]], {1: CAT, 3: SKY})) == approx(5 / 6, 1, 5 / 6, 2 / 3, 1, 2 / 3, 1, 1, 1)


def test_a_segment_found_for_nothing_is_half_an_error(quality):
    # Cats: one matched at IoU 2 / 3 and one found within its last pixel: RQ = 1 / (1 + 1/2), PQ = 2/3 of it.
    true = ([[1, 1, 1, 3, 3, 3]], {1: CAT, 3: SKY})
    found = ([[1, 1, 2, 3, 3, 3]], {1: CAT, 2: CAT, 3: SKY})
    assert quality(true, found) == approx(13 / 18, 5 / 6, 5 / 6, 4 / 9, 2 / 3, 2 / 3, 1, 1, 1)


def test_a_segment_of_another_category_is_missed_and_found_for_nothing(quality):
    # Cats: none matched, one missed. Dogs: one found for nothing. The mean is over cats, dogs and sky.
    found = ([[1, 1, 1, 1, 2, 2, 2, 2]], {1: DOG, 2: SKY})
    assert quality(TWO, found) == approx(1 / 3, 1 / 3, 1 / 3, 0, 0, 0, 1, 1, 1)


def test_a_category_that_neither_is_nor_was_found_is_not_in_the_mean(quality):
    # Of dogs, sky and grass there is nothing to say, so stuff has no figure at all.
    cat = ([[1, 1, 0]], {1: CAT})
    assert quality(cat, cat) == approx(1, 1, 1, 1, 1, 1, NAN, NAN, NAN)


def test_void_pixels_of_the_truth_are_in_no_union(quality):
    # Found on 3 of the cat's 4 pixels and on 5 void ones: IoU 3 / 4.
    true = ([[1, 1, 1, 1, 0, 0, 0, 0, 0]], {1: CAT})
    assert quality(true, ([[0, 1, 1, 1, 1, 1, 1, 1, 1]], {1: CAT}))[:3] == approx(0.75, 0.75, 1)


def test_pixels_that_the_model_left_void_are_in_the_union(quality):
    # Found on 3 of the cat's 5 pixels and nothing on the others: IoU 3 / 5, and with 2 of 5 it is missed.
    true = ([[1, 1, 1, 1, 1]], {1: CAT})
    assert quality(true, ([[0, 0, 1, 1, 1]], {1: CAT}))[:3] == approx(0.6, 0.6, 1)
    assert quality(true, ([[0, 0, 0, 1, 1]], {1: CAT}))[:3] == approx(0, 0, 0)


def test_an_unmatched_segment_is_forgiven_where_more_than_half_of_it_is_void(quality):
    true = ([[1, 1, 1, 1, 1, 1, 0, 0, 0]], {1: SKY})
    # The dog has 3 void pixels of 5: forgiven. With 3 of 6 it is not.
    forgiven = ([[1, 1, 1, 1, 2, 2, 2, 2, 2]], {1: SKY, 2: DOG})
    assert quality(true, forgiven) == approx(2 / 3, 2 / 3, 1, NAN, NAN, NAN, 2 / 3, 2 / 3, 1)
    counted = ([[1, 1, 1, 1, 2, 2, 2, 2, 0]], {1: SKY, 2: DOG})
    assert quality(true, counted) == approx(1 / 3, 1 / 3, 1 / 2, 0, 0, 0, 2 / 3, 2 / 3, 1)


def test_a_crowd_is_neither_matched_nor_missed(quality):
    true = ([[1, 1, 1, 2, 2]], {1: ("crowd", CAT), 2: SKY})
    sky = (1, 1, 1, NAN, NAN, NAN, 1, 1, 1)
    assert quality(true, ([[0, 0, 0, 2, 2]], {2: SKY})) == approx(*sky), "not missed"
    assert quality(true, ([[1, 1, 1, 2, 2]], {1: CAT, 2: SKY})) == approx(*sky), "not matched, but forgiven"


def test_only_a_crowd_of_its_own_category_forgives(quality):
    true = ([[1, 1, 1, 2, 2]], {1: ("crowd", CAT), 2: SKY})
    assert quality(true, ([[1, 1, 1, 2, 2]], {1: DOG, 2: SKY})) == approx(0.5, 0.5, 0.5, 0, 0, 0, 1, 1, 1)


def test_void_and_crowd_together_forgive(quality):
    # Of the cat's 5 pixels one is void, two are crowd, and two are sky: 3 / 5.
    true = ([[0, 1, 1, 2, 2, 2, 2, 2, 2]], {1: ("crowd", CAT), 2: SKY})
    found = ([[1, 1, 1, 1, 1, 2, 2, 2, 2]], {1: CAT, 2: SKY})
    assert quality(true, found) == approx(2 / 3, 2 / 3, 1, NAN, NAN, NAN, 2 / 3, 2 / 3, 1)


def test_segments_are_counted_over_all_images_and_not_averaged_by_image(write_truth):
    # Cats: one in the first image, matched at IoU 1, and two in the second. With none of these PQ = 1 / (1 + 2/2), and
    # with one 2 / (2 + 1/2), where the mean of the images' own would be (1 + 1 / (1 + 1/2)) / 2.
    image = ([[1, 1, 2, 2]], {1: CAT, 2: CAT}, np.zeros((1, 4)))
    truth = write_truth(([[1, 1, 1, 1]], {1: CAT}, np.zeros((1, 4))), image)
    rows = rows_of(truth, 1, [[1, 1, 1, 1]], {1: CAT})
    assert measure_panoptic(truth, rows)["panoptic_seg"]["PQ"] == pytest.approx(100 / 2)
    rows += rows_of(truth, 2, [[1, 1, 0, 0]], {1: CAT})
    assert measure_panoptic(truth, rows)["panoptic_seg"]["PQ"] == pytest.approx(100 * 2 / 2.5)


def test_in_an_image_without_rows_nothing_was_found(write_truth):
    # Missed: a cat and a sky. Of the labels, each of 4 pixels, none is right.
    labels = [[0, 0, 0, 0, 1, 1, 1, 1]]
    truth = write_truth((*TWO, labels), (*TWO, labels))
    nothing = measure_panoptic(truth, [])
    assert list(nothing["panoptic_seg"].values()) == [0] * 9
    assert [nothing["sem_seg"][name] for name in ("mIoU", "fwIoU", "mACC", "pACC")] == [0] * 4
    # Found in one image of two: RQ = 1 / (1 + 1/2); of the pixels of each label, a half.
    half = measure_panoptic(truth, rows_of(truth, 2, *TWO))
    assert list(half["panoptic_seg"].values()) == approx(2 / 3, 1, 2 / 3, 2 / 3, 1, 2 / 3, 2 / 3, 1, 2 / 3)
    assert [half["sem_seg"][name] for name in ("mIoU", "fwIoU", "mACC", "pACC")] == approx(0.5, 0.5, 0.5, 0.5)


@pytest.fixture
def semantic(write_truth):
    """`semantic(true labels, found labels)`: the figures of one image."""

    def measure(true, found):
        truth = write_truth((np.zeros(np.shape(true), int), {}, true))
        return measure_panoptic(truth, rows_of(truth, 1, np.zeros(np.shape(true), int), {}, np.array(found)))["sem_seg"]

    return measure


def test_semantic_figures_are_of_pixels(semantic):
    # Of 10 pixels that count: things 4, of which 3 right; sky 4, 3 right; grass 2, both right.
    # Found: things 3 + 1, sky 3, grass 2 + 1. IoU: 3 / 5, 3 / 4, 2 / 3. The last pixel does not count.
    figures = semantic([[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 255]], [[0, 0, 0, 2, 0, 1, 1, 1, 2, 2, 1]])
    assert list(figures) == [
        *("mIoU", "fwIoU", "IoU-things", "IoU-sky", "IoU-grass"),
        *("mACC", "pACC", "ACC-things", "ACC-sky", "ACC-grass"),
    ]
    iou = (3 / 5, 3 / 4, 2 / 3)
    weighted = (4 * iou[0] + 4 * iou[1] + 2 * iou[2]) / 10
    assert list(figures.values()) == approx(sum(iou) / 3, weighted, *iou, (3 / 4 + 3 / 4 + 1) / 3, 0.8, 3 / 4, 3 / 4, 1)


def test_a_label_that_is_not_there_has_no_figure_and_counts_in_miou_only_if_it_was_found(semantic):
    # detectron2 0.5 divides by the labels that are there or were found.
    perfect = semantic([[0, 0, 1, 1]], [[0, 0, 1, 1]])
    assert list(perfect.values()) == approx(1, 1, 1, 1, NAN, 1, 1, 1, 1, NAN)
    found = semantic([[0, 0, 1, 1]], [[0, 0, 1, 2]])
    assert list(found.values()) == approx(1.5 / 3, 0.75, 1, 0.5, NAN, 0.75, 0.75, 1, 0.5, NAN)


def test_where_no_pixel_counts_there_is_no_semantic_figure(semantic):
    assert all(math.isnan(value) for value in semantic([[255, 255]], [[0, 1]]).values())


@pytest.mark.parametrize("split", ["val", "sample"])
def test_the_truth_judged_by_itself_has_100(shapes, split):
    truth = load_panoptic(shapes / split / "panoptic.json", shapes / split / "panoptic", shapes / split / "sem_seg")
    rows = []
    for image_id in truth.image_ids:
        ids, segments = truth.segments(image_id)
        categories = {segment["id"]: segment["category_id"] for segment in segments}
        rows += rows_of(truth, image_id, ids, categories, truth.labels(image_id))
    figures = measure_panoptic(truth, rows)
    assert [*figures["panoptic_seg"].values(), *figures["sem_seg"].values()] == approx(*[1] * 19)


def drawn(seed, *, found_void=True, crowds=True):
    """Three images, and what might be found in them: regions about some centres, and about centres nearby."""
    draw = np.random.default_rng(seed)
    images, found = [], []
    for height, width in ((24, 30), (17, 40), (32, 32)):
        rows, columns = np.mgrid[:height, :width]
        centres = draw.uniform((0, 0), (height, width), (9, 2))
        ids = np.argmin([np.hypot(rows - y, columns - x) for y, x in centres], axis=0) + 1
        moved = centres + draw.normal(0, 2, (9, 2))
        found_ids = np.argmin([np.hypot(rows - y, columns - x) for y, x in moved], axis=0) + 1
        # Stuff has one segment a category, as torchmetrics takes it to have.
        categories = dict(zip(range(1, 10), [SKY, GRASS, *draw.choice([CAT, DOG], 7).tolist()], strict=True))
        mistaken = dict.fromkeys((3 + draw.choice(7, 2, replace=False)).tolist(), CAT)
        ids[np.isin(ids, draw.choice(9, 2, replace=False) + 1)] = 0
        if found_void:
            found_ids[np.isin(found_ids, draw.choice(9, 2, replace=False) + 1)] = 0
        there = {id: category for id, category in categories.items() if id in ids}
        crowd = {id for id in there if crowds and draw.random() < 0.3}
        truth = {id: ("crowd", category) if id in crowd else category for id, category in there.items()}
        images.append((ids * 1000, {id * 1000: c for id, c in truth.items()}, labels_of(ids, categories, void=255)))
        found.append((found_ids, {id: c for id, c in {**categories, **mistaken}.items() if id in found_ids}))
    return images, found


def rows_of_all(truth, found):
    return [row for image_id, each in enumerate(found, start=1) for row in rows_of(truth, image_id, *each)]


# By panopticapi at commit 7bb4655 and by the sums of detectron2 0.5's SemSegEvaluator.
ANSWERS = {
    0: [
        *(49.53152, 68.31036, 72.5, 30.67696, 68.23465, 45.0, 68.38608, 68.38608, 100.0),
        *(75.03602, 88.28722, 92.69469, 47.45763, 84.95575, 85.8651, 93.2139, 94.8519, 65.11628, 97.62712),
    ],
    1: [
        *(25.84457, 52.80004, 36.76471, 37.03398, 76.28973, 48.52941, 14.65517, 29.31034, 25.0),
        *(51.20874, 72.18938, 79.42637, 22.39264, 51.80723, 67.21501, 81.48883, 86.38272, 43.19527, 72.06704),
    ],
    2: [
        *(50.62511, 75.32991, 67.08333, 51.75458, 76.41636, 67.5, 49.49563, 74.24345, 66.66667),
        *(66.80924, 73.36586, 81.38332, 51.72414, 67.32026, 75.79089, 84.88189, 95.52352, 56.66667, 75.18248),
    ],
    3: [
        *(41.65883, 71.75609, 56.9697, 31.60608, 69.03144, 45.45455, 61.76431, 77.20539, 80.0),
        *(55.0242, 81.45673, 89.50484, 30.95238, 44.61538, 62.2507, 89.51256, 97.99646, 39.39394, 49.3617),
    ],
}


@pytest.mark.parametrize("seed", ANSWERS)
def test_void_and_crowds_are_taken_as_panopticapi_takes_them(write_truth, seed):
    images, found = drawn(seed)
    truth = write_truth(*images)
    figures = measure_panoptic(truth, rows_of_all(truth, found))
    assert [*figures["panoptic_seg"].values(), *figures["sem_seg"].values()] == pytest.approx(ANSWERS[seed], abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_torchmetrics_says_the_same_where_nothing_is_a_crowd_or_left_void(write_truth, seed):
    images, found = drawn(seed, found_void=False, crowds=False)
    truth = write_truth(*images)
    figures = measure_panoptic(truth, rows_of_all(truth, found))

    quality = PanopticQuality({*truth.thing_ids}, {*truth.stuff_ids}, return_sq_and_rq=True, return_per_class=True)
    overlap = MulticlassJaccardIndex(3, ignore_index=255, average=None)
    accuracy = MulticlassAccuracy(3, ignore_index=255, average=None)
    for (ids, categories, labels), (found_ids, found_categories) in zip(images, found, strict=True):
        # Void is a category of neither things nor stuff.
        true, seen = (
            np.stack([np.vectorize(lambda id, of=of: of.get(id, 99))(each), each], axis=-1)
            for each, of in ((ids, categories), (found_ids, found_categories))
        )
        quality.update(torch.from_numpy(seen)[None], torch.from_numpy(true)[None])
        predicted = torch.from_numpy(labels_of(found_ids, found_categories))
        for metric in (overlap, accuracy):
            metric.update(predicted, torch.from_numpy(labels).long())

    by_category = 100 * quality.compute().reshape(4, 3).numpy()
    expected = np.concatenate([by_category.mean(0), by_category[:2].mean(0), by_category[2:].mean(0)])
    assert list(figures["panoptic_seg"].values()) == pytest.approx(expected.tolist(), abs=1e-4)
    semantic, names = figures["sem_seg"], ("things", "sky", "grass")
    assert [semantic[f"IoU-{name}"] for name in names] == pytest.approx((100 * overlap.compute()).tolist(), abs=1e-4)
    assert [semantic[f"ACC-{name}"] for name in names] == pytest.approx((100 * accuracy.compute()).tolist(), abs=1e-4)
    assert semantic["mIoU"] == pytest.approx(100 * float(overlap.compute().mean()), abs=1e-4)
    assert semantic["mACC"] == pytest.approx(100 * float(accuracy.compute().mean()), abs=1e-4)


@given(seed=st.integers(0, 3), ids=st.permutations(range(1, 10)), order=st.randoms(use_true_random=False))
def test_neither_the_order_of_segments_nor_their_ids_change_a_figure(drawn_truths, seed, ids, order):
    truth, found, expected = drawn_truths[seed]
    renumbered = []
    for found_ids, categories in found:
        shuffled = order.sample(list(categories.items()), len(categories))
        renumbered.append((np.array([0, *ids])[found_ids], {ids[id - 1]: category for id, category in shuffled}))
    rows = rows_of_all(truth, renumbered)
    order.shuffle(rows)
    figures = measure_panoptic(truth, rows)
    for kind in ("panoptic_seg", "sem_seg"):
        assert figures[kind] == pytest.approx(expected[kind], nan_ok=True)


@pytest.fixture(scope="module")
def drawn_truths(write_truth):
    """For seeds 0 to 3 the truth, what was found, and its figures."""
    cases = []
    for seed in range(4):
        images, found = drawn(seed)
        truth = write_truth(*images)
        cases.append((truth, found, measure_panoptic(truth, rows_of_all(truth, found))))
    return cases


def test_some_images_can_be_measured_alone(drawn_truths):
    truth, found, _ = drawn_truths[0]
    rows = [row for row in rows_of_all(truth, found) if row["image_id"] != 2]
    alone = measure_panoptic(truth, rows, [3, 1, 3])
    assert alone["panoptic_seg"]["PQ"] > measure_panoptic(truth, rows)["panoptic_seg"]["PQ"]
    assert alone["sem_seg"]["pACC"] > measure_panoptic(truth, rows)["sem_seg"]["pACC"]
    assert alone == measure_panoptic(truth, rows, [1, 3])
    with pytest.raises(DatasetError, match=r"a\.json: segments of image 1, which is not measured"):
        measure_panoptic(truth, rows, [3])
    with pytest.raises(DatasetError, match=r"a\.json: no image with id 4"):
        measure_panoptic(truth, rows, [1, 3, 4])


def test_rows_and_truth_are_not_changed(drawn_truths):
    truth, found, expected = drawn_truths[1]
    rows = rows_of_all(truth, found)
    before = repr(rows)
    assert measure_panoptic(truth, rows) == expected
    assert repr(rows) == before
