"""The dataset of a run: pinned when the run begins, and the same ever after."""

from dataclasses import replace

from roastery.data.coco import CocoDataset
from roastery.data.dataset import load_dataset, load_sampled_from
from roastery.errors import DatasetError
from roastery.results import PinnedDataset
from roastery.spec import DatasetSpec


def pin_dataset(spec: DatasetSpec, *, decode: bool) -> PinnedDataset:
    """The dataset's digests as they are now.

    Args:
        decode: whether panoptic PNGs are looked at too; their digests alone are much sooner had.

    Raises:
        DatasetError: see `roastery.data.dataset.load_dataset`.
    """
    dataset = load_dataset(spec, decode=decode)
    same = spec.sampled_from == (spec.images, spec.annotations)
    sampled = replace(dataset, panoptic=None) if same else load_sampled_from(spec)
    return PinnedDataset(
        name=spec.name, sha256=dataset.digest, images=len(dataset.images), sample_sha256=sampled.digest
    )


def load_evaluated(spec: DatasetSpec, pinned: PinnedDataset) -> CocoDataset:
    """The images to evaluate on.

    Raises:
        DatasetError: they are not those that were pinned: what is made of them would lie under another's key.
    """
    # The images were looked at when they were pinned, and have the same digests.
    return _unchanged(load_dataset(spec, decode=False), pinned.sha256)


def load_sampled(spec: DatasetSpec, pinned: PinnedDataset) -> CocoDataset:
    """The images to sample from.

    Raises:
        DatasetError: as `load_evaluated`.
    """
    return _unchanged(load_sampled_from(spec), pinned.sample_sha256)


def _unchanged(dataset: CocoDataset, sha256: str) -> CocoDataset:
    if dataset.digest != sha256:
        raise DatasetError(f"{dataset.annotations}: its images or annotations changed during the run; run again")
    return dataset
