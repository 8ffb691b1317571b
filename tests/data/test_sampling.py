"""A sample is the same everywhere."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roastery.data.coco import CocoDataset, ImageRecord, load_coco
from roastery.data.sampling import in_batches, sample_images
from roastery.errors import DatasetError


def dataset(ids: list[int]) -> CocoDataset:
    records = tuple(ImageRecord(identity, Path(f"{identity}.jpg"), 4, 5) for identity in sorted(ids))
    return CocoDataset("test", Path(), Path("a.json"), records, (1,), ("thing",))


IDS = st.lists(st.integers(0, 10**12), min_size=1, max_size=60, unique=True)


@given(IDS, st.integers(1, 80), st.integers())
def test_a_sample_is_repeatable_sorted_and_as_large_as_it_can_be(ids: list[int], n: int, seed: int) -> None:
    whole = dataset(ids)
    sample = sample_images(whole, n, seed)
    assert sample == sample_images(dataset(ids[::-1]), n, seed)
    assert [image.id for image in sample] == sorted({image.id for image in sample})
    assert set(sample) <= set(whole.images)
    assert len(sample) == min(n, len(ids))


@given(IDS, st.integers(1, 60), st.integers(1, 20), st.integers())
def test_a_larger_sample_holds_the_smaller_one(ids: list[int], n: int, more: int, seed: int) -> None:
    assert set(sample_images(dataset(ids), n, seed)) <= set(sample_images(dataset(ids), n + more, seed))


def test_more_images_than_there_are_gives_all(shapes: Path) -> None:
    whole = load_coco("val", shapes / "val" / "images", shapes / "val" / "instances.json")
    assert sample_images(whole, 1000, 0) == whole.images


def test_the_seed_chooses_the_images(shapes: Path) -> None:
    whole = load_coco("val", shapes / "val" / "images", shapes / "val" / "instances.json")
    # Fixed: a sample that changed between versions would change what every registered model was compared on.
    assert [image.id for image in sample_images(whole, 4, 0)] == [15, 44, 46, 87]
    assert len({sample_images(whole, 4, seed) for seed in range(20)}) == 20


def test_every_image_is_as_likely_as_another() -> None:
    whole = dataset(list(range(20)))
    drawn = [image.id for seed in range(400) for image in sample_images(whole, 5, seed)]
    # Binomial with n = 400, p = 1/4: mean 100, standard deviation 8.7; five of them either way.
    assert all(100 - 5 * 8.7 < drawn.count(identity) < 100 + 5 * 8.7 for identity in range(20))


@pytest.mark.parametrize("n", [0, -1])
def test_a_sample_of_nothing_is_refused(n: int) -> None:
    with pytest.raises(DatasetError, match="ask for at least 1"):
        sample_images(dataset([1]), n, 0)


def test_batches_hold_every_item_in_order_and_the_last_is_filled_up_from_the_first():
    assert in_batches([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4], [5, 1]]
    assert in_batches([1, 2], 4) == [[1, 2, 1, 2]]
    assert in_batches([1, 2], 1) == [[1], [2]]
    assert in_batches([], 3) == []
