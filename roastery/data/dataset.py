"""A registered dataset, read from the disk."""

from dataclasses import replace
from pathlib import Path

from roastery.data.coco import CocoDataset, load_coco
from roastery.errors import DatasetError
from roastery.spec import DatasetSpec


def load_dataset(spec: DatasetSpec, *, decode: bool = True) -> CocoDataset:
    """What a dataset is evaluated on.

    Args:
        decode: whether panoptic PNGs are checked at once, or when they are used.

    Raises:
        DatasetError: see `load_coco`, `load_proposals` and `load_panoptic`; panoptic annotations that lack an
            image, or name other things than the boxes' annotations.
    """
    dataset = _with_proposals(load_coco(spec.name, spec.images, spec.annotations), spec.proposals)
    if spec.panoptic is None or spec.panoptic_masks is None or spec.sem_seg is None:
        return dataset
    # numpy and Pillow, which whoever only asks for digests does not wait for.
    from roastery.data.panoptic import load_panoptic

    truth = load_panoptic(spec.panoptic, spec.panoptic_masks, spec.sem_seg, decode=decode)
    missing = {image.id for image in dataset.images} - set(truth.image_ids)
    if missing:
        raise DatasetError(f"{truth.annotations}: lacks image {min(missing)} of {dataset.annotations}; annotate it too")
    if truth.thing_ids != dataset.category_ids:
        raise DatasetError(
            f"{truth.annotations}: its things are the categories {list(truth.thing_ids)}, but those of "
            f"{dataset.annotations} are {list(dataset.category_ids)}; make them one"
        )
    return replace(dataset, panoptic=truth)


def load_sampled_from(spec: DatasetSpec) -> CocoDataset:
    """What is sampled from, of a dataset.

    Raises:
        DatasetError: see `load_coco` and `load_proposals`.
    """
    same = spec.sampled_from == (spec.images, spec.annotations)
    proposals = spec.sample_proposals or (spec.proposals if same else None)
    return _with_proposals(load_coco(spec.name, *spec.sampled_from), proposals)


def _with_proposals(dataset: CocoDataset, file: Path | None) -> CocoDataset:
    if file is None:
        return dataset
    # numpy and PyTorch, which whoever only asks for digests of others does not wait for.
    from roastery.data.proposals import load_proposals

    return replace(dataset, proposals=load_proposals(file))
