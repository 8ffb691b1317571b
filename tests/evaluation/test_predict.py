import dataclasses
import threading

import pytest
import torch

from roastery.config import load_config
from roastery.data.coco import load_coco
from roastery.data.dataset import load_dataset
from roastery.data.preprocess import to_input
from roastery.errors import DatasetError, RuntimeFailed, UserError
from roastery.evaluation import predict
from roastery.evaluation.coco import to_coco_results
from roastery.evaluation.predict import detect
from roastery.postprocess.instances import resize_to_original
from roastery.spec import DatasetSpec
from roastery.structures import Boxes, Instances


@pytest.fixture(scope="module")
def sample(shapes):
    return load_coco("sample", shapes / "sample/images", shapes / "sample/instances.json")


@pytest.fixture(scope="module")
def config(mask_model):
    return load_config(mask_model / "config.yaml")


class FixedModel:
    """Finds one box of a class in every image, and raises `errors` at those calls."""

    def __init__(self, class_index=0, errors=None):
        self.class_index = class_index
        self.errors = errors or {}
        self.seen = []

    def __call__(self, inputs):
        (single,) = inputs
        self.seen.append(single)
        if len(self.seen) in self.errors:
            raise self.errors[len(self.seen)]
        size = (single["height"], single["width"])
        return [
            {
                "instances": Instances(
                    size,
                    pred_boxes=Boxes(torch.tensor([[1.0, 2.0, 11.0, 22.0]])),
                    scores=torch.tensor([0.75]),
                    pred_classes=torch.tensor([self.class_index]),
                )
            }
        ]


def test_detections_carry_the_ids_of_their_image_and_category_in_the_order_asked_for(sample, config):
    ids = [record.id for record in sample.images[2::-1]]

    detected = detect(FixedModel(2), sample, ids, config, sample.category_ids)

    assert [found["image_id"] for found in detected.detections] == ids
    assert {found["category_id"] for found in detected.detections} == {sample.category_ids[2]}
    assert detected.detections[0]["bbox"] == pytest.approx([1.0, 2.0, 10.0, 20.0])
    assert len(detected.milliseconds) == 3
    assert all(milliseconds >= 0 for milliseconds in detected.milliseconds)
    assert detected.failures == ()


def test_the_model_is_given_the_preprocessed_image_and_the_original_size(sample, config):
    record = sample.images[0]
    model = FixedModel()

    detect(model, sample, [record.id], config, sample.category_ids)

    assert (model.seen[0]["height"], model.seen[0]["width"]) == (record.height, record.width)
    assert model.seen[0]["image"].shape[0] == 3
    assert min(model.seen[0]["image"].shape[1:]) == config.INPUT.MIN_SIZE_TEST


@pytest.mark.parametrize("error", [RuntimeFailed("worker died\nlast words"), RuntimeError("size mismatch")])
def test_an_image_that_raises_is_named_and_the_others_go_on(sample, config, error):
    ids = [record.id for record in sample.images[:3]]

    detected = detect(FixedModel(errors={2: error}), sample, ids, config, sample.category_ids)

    assert [found["image_id"] for found in detected.detections] == [ids[0], ids[2]]
    assert len(detected.milliseconds) == 2
    (failure,) = detected.failures
    assert failure.image_id == ids[1]
    assert failure.file == sample.images[1].path.name
    assert failure.reason == str(error).splitlines()[0]


def test_an_image_file_that_is_gone_is_a_failed_image(sample, config, tmp_path):
    lost = dataclasses.replace(sample.images[0], path=tmp_path / "gone.jpg")
    dataset = dataclasses.replace(sample, images=(lost, *sample.images[1:]))

    detected = detect(FixedModel(), dataset, [lost.id], config, sample.category_ids)

    assert [failure.file for failure in detected.failures] == ["gone.jpg"]
    assert detected.detections == []


def test_an_error_that_stops_every_image_is_raised(sample, config):
    with pytest.raises(UserError, match="no Caffe2"):
        detect(
            FixedModel(errors={1: UserError("no Caffe2 here")}),
            sample,
            [sample.images[0].id],
            config,
            sample.category_ids,
        )


def test_an_id_that_the_dataset_does_not_have_is_refused(sample, config):
    with pytest.raises(DatasetError, match="no image with id 123456"):
        detect(FixedModel(), sample, [123456], config, sample.category_ids)


def test_a_model_with_more_classes_than_the_dataset_is_refused(sample, config):
    with pytest.raises(DatasetError, match="found class 3, but the dataset has 3 categories"):
        detect(FixedModel(3), sample, [sample.images[0].id], config, sample.category_ids)


def test_progress_is_told_after_each_image_whether_it_failed_or_not(sample, config):
    ids = [record.id for record in sample.images[:3]]
    told = []

    detect(
        FixedModel(errors={2: RuntimeError("no")}),
        sample,
        ids,
        config,
        sample.category_ids,
        on_image=lambda record: told.append(record.id),
    )

    assert told == ids


class Batched(FixedModel):
    """Takes several images at once, and raises where one of them is in `broken`."""

    def __init__(self, broken=()):
        super().__init__()
        self.broken = broken
        self.sizes = []

    def __call__(self, inputs):
        self.sizes.append(len(inputs))
        if any(single["image_id"] in self.broken for single in inputs):
            raise RuntimeFailed("it died")
        return [super(Batched, self).__call__([single])[0] for single in inputs]


def test_images_go_together_where_the_model_takes_several(sample, config):
    model = Batched()
    ids = [record.id for record in sample.images[:10]]
    seen = []

    detected = detect(model, sample, ids, config, sample.category_ids, lambda record: seen.append(record.id), batch=2)

    assert model.sizes == [8, 2]
    assert [found["image_id"] for found in detected.detections] == ids == seen
    assert len(detected.milliseconds) == 10


def test_of_images_that_went_together_the_one_that_failed_is_found(sample, config):
    ids = [record.id for record in sample.images[:8]]

    detected = detect(Batched(broken=ids[3:4]), sample, ids, config, sample.category_ids, batch=2)

    assert [failure.image_id for failure in detected.failures] == ids[3:4]
    assert [found["image_id"] for found in detected.detections] == ids[:3] + ids[4:]
    assert len(detected.milliseconds) == 7


class Masked(FixedModel):
    """Finds five boxes with masks in every image, as the image's pixels say; of one that is `broken` it raises."""

    def __init__(self, broken=()):
        super().__init__(errors={})
        self.broken = broken

    def __call__(self, inputs):
        answers = []
        for single in inputs:
            self.seen.append(single["image_id"])
            if single["image_id"] in self.broken:
                raise RuntimeFailed(f"it died of {single['image_id']}")
            generator = torch.Generator().manual_seed(int(single["image"].sum()) % 2**31)
            low = torch.rand(5, 2, generator=generator) * 40
            found = Instances(
                (single["image"].shape[1], single["image"].shape[2]),
                pred_boxes=Boxes(torch.cat([low, low + torch.rand(5, 2, generator=generator) * 50], dim=1)),
                scores=torch.rand(5, generator=generator),
                pred_classes=torch.tensor([0, 1, 2, 1, 0]),
                pred_masks=torch.rand(5, 1, 28, 28, generator=generator),
            )
            answers.append({"instances": resize_to_original(found, single["height"], single["width"])})
        return answers


@pytest.mark.parametrize("helpers", [0, 1, 2])
@pytest.mark.parametrize("batch", [1, 2])
def test_what_is_found_does_not_depend_on_helpers(sample, config, helpers, batch, tmp_path):
    # One image that is not there, one that the model fails on: each is named, in its place.
    gone = dataclasses.replace(sample.images[1], path=tmp_path / "gone.jpg")
    dataset = dataclasses.replace(sample, images=(sample.images[0], gone, *sample.images[2:]))
    ids = [record.id for record in dataset.images][:10]
    broken, told = (ids[4],), []

    detected = detect(
        Masked(broken), dataset, ids, config, dataset.category_ids, told.append, batch=batch, helpers=helpers
    )

    expected, failed = [], []
    for record in dataset.images[:10]:
        if record.id in (ids[1], ids[4]):
            failed.append(record.id)
            continue
        # As it was before there were helpers: pasted whole, and written down by pycocotools.
        (answer,) = Masked()([to_input(record, config)])
        expected += to_coco_results(record.id, answer["instances"], dataset.category_ids)
    assert detected.detections == expected
    assert [failure.image_id for failure in detected.failures] == failed
    assert detected.failures[0].reason.startswith(f"{gone.path}: no such image")
    assert detected.failures[1].reason == f"it died of {ids[4]}"
    assert len(detected.milliseconds) == 8
    assert [record.id for record in told] == ids


@pytest.mark.parametrize("helpers", [0, 1])
def test_an_interruption_during_a_call_ends_the_loop_and_its_helpers(sample, config, helpers):
    model = FixedModel(errors={3: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        detect(model, sample, [r.id for r in sample.images], config, sample.category_ids, helpers=helpers)
    assert len(model.seen) == 3
    assert not any(thread.name.startswith("helper") for thread in threading.enumerate())


def test_at_most_the_next_image_is_read_ahead_and_the_last_one_unwritten(sample, config, monkeypatch):
    read, held = [], []

    class Watching(FixedModel):
        def __call__(self, inputs):
            answer = super().__call__(inputs)
            held.append(len(read) - len(self.seen))
            return answer

    monkeypatch.setattr(predict, "to_input", lambda record, *rest: (read.append(record.id), to_input(record, *rest))[1])
    detect(Watching(), sample, [r.id for r in sample.images], config, sample.category_ids, helpers=2)

    assert set(held) <= {0, 1}
    assert read == [record.id for record in sample.images]


def test_a_panoptic_answer_becomes_rows_of_its_segments(shapes, config):
    val = shapes / "val"
    dataset = load_dataset(
        DatasetSpec(
            name="panoptic",
            images=val / "images",
            annotations=val / "instances.json",
            panoptic=val / "panoptic.json",
            panoptic_masks=val / "panoptic",
            sem_seg=val / "sem_seg",
        ),
        decode=False,
    )

    class Panoptic(FixedModel):
        def __call__(self, inputs):
            (answer,) = super().__call__(inputs)
            size = answer["instances"].image_size
            ids = torch.zeros(size, dtype=torch.int32)
            ids[:5] = 1
            logits = torch.zeros(3, *size)
            logits[2] = 1
            return [
                answer | {"panoptic_seg": (ids, [{"id": 1, "isthing": False, "category_id": 2}]), "sem_seg": logits}
            ]

    detected = detect(Panoptic(), dataset, [1], config, dataset.category_ids)

    assert [(row["kind"], row.get("category_id"), row.get("label")) for row in detected.segments] == [
        ("panoptic", 5, None),
        ("sem_seg", None, 2),
    ]
