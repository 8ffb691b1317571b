"""A dataset, registered or one of detectron2's, read from the disk."""

from dataclasses import replace
from pathlib import Path

from roastery.data.builtin import require_files
from roastery.data.coco import CocoDataset, load_coco
from roastery.errors import DatasetError
from roastery.spec import DatasetSpec


def load_dataset(spec: DatasetSpec, *, decode: bool = True) -> CocoDataset:
    """What a dataset is evaluated on. No image is opened.

    Args:
        decode: whether PNGs of annotations are checked at once, or when they are used.

    Raises:
        DatasetError: see `load_coco`, `load_proposals` and `load_panoptic`, and `load_lvis` and so on of other formats;
            panoptic annotations that lack an image, or name other things than the boxes' annotations; a file of one of
            detectron2's datasets that is not there, with what to put there.
    """
    require_files(spec)
    dataset = _with_proposals(_load(spec, spec.images, spec.annotations, decode), spec.proposals)
    if spec.panoptic is None or spec.panoptic_masks is None or spec.sem_seg is None:
        return dataset
    # numpy and Pillow, which whoever only asks for digests does not wait for.
    from roastery.data.panoptic import load_panoptic

    truth = load_panoptic(spec.panoptic, spec.panoptic_masks, spec.sem_seg, decode=decode, links_into=spec.links_into)
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
    """What is sampled from, of a dataset. No image is opened.

    Raises:
        DatasetError: as `load_dataset`.
    """
    require_files(spec)
    same = spec.sampled_from == (spec.images, spec.annotations)
    proposals = spec.sample_proposals or (spec.proposals if same else None)
    return _with_proposals(_load(spec, *spec.sampled_from, decode=False), proposals)


def _load(spec: DatasetSpec, images: Path, annotations: Path, decode: bool) -> CocoDataset:
    if spec.format == "lvis":
        from roastery.data.lvis import load_lvis

        return load_lvis(spec.name, images, annotations)
    if spec.format == "pascal_voc":
        from roastery.data.pascal_voc import load_pascal_voc

        return load_pascal_voc(spec.name, images, annotations)
    if spec.format == "coco":
        return load_coco(spec.name, images, annotations, spec.links_into)
    if spec.format == "coco_stuff":
        from roastery.data.coco_stuff import load_coco_stuff

        return load_coco_stuff(spec.name, images, annotations, spec.links_into, decode=decode)
    from roastery.data import cityscapes

    load = cityscapes.load_cityscapes if spec.format == "cityscapes" else cityscapes.load_cityscapes_sem_seg
    return load(spec.name, images, annotations, decode=decode)


def _with_proposals(dataset: CocoDataset, file: Path | None) -> CocoDataset:
    if file is None:
        return dataset
    # numpy and PyTorch, which whoever only asks for digests of others does not wait for.
    from roastery.data.proposals import load_proposals

    return replace(dataset, proposals=load_proposals(file))
