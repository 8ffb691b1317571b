"""Files of proposals, as detectron2 writes them and as strangers do."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roastery.config import load_config
from roastery.data.proposals import drawn_proposals, load_proposals
from roastery.errors import DatasetError

BOXES = np.array([[0, 0, 10, 20], [30, 40, 90, 80], [5, 5, 5.5, 60]], np.float32)
LOGITS = np.array([0.5, 2.0, -1.0], np.float32)


def written(path: Path, **changes: Any) -> Path:
    content = {"ids": [7], "boxes": [BOXES], "objectness_logits": [LOGITS], "bbox_mode": 0, **changes}
    path.write_bytes(pickle.dumps({name: value for name, value in content.items() if value is not None}))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "box_proposals.pkl"


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("VERSION: 2\n")
    return tmp_path / "config.yaml"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ids": ["7"]},
        {"bbox_mode": None},
        {"ids": None, "indexes": [7], "objectness_logits": None, "scores": [LOGITS]},
        {"bbox_mode": 1, "boxes": [BOXES - [[0, 0, x, y] for x, y in BOXES[:, :2]]]},
    ],
    ids=["as written today", "ids as text", "without a mode", "Detectron's names", "xywh"],
)
def test_every_form_that_detectron2_reads_is_the_same_proposals_by_falling_objectness(
    file: Path, changes: dict[str, Any]
) -> None:
    proposals = load_proposals(written(file, **changes))
    np.testing.assert_array_equal(proposals.boxes[7], BOXES[[1, 0, 2]])
    np.testing.assert_array_equal(proposals.logits[7], LOGITS[[1, 0, 2]])


def test_an_image_gets_its_proposals_resized_clipped_and_as_many_as_the_config_says(
    file: Path, config_file: Path
) -> None:
    # detectron2: boxes scaled as the image is, clipped, those of no size left out, then the best so many.
    proposals = load_proposals(written(file, boxes=[np.vstack([BOXES[:2], [[200, 0, 300, 10]]]).astype(np.float32)]))
    config = load_config(config_file)
    found = proposals.of_image(7, (100, 100), (50, 200), config)
    assert found.image_size == (50, 200)
    np.testing.assert_array_equal(found.proposal_boxes.tensor, [[60, 20, 180, 40], [0, 0, 20, 10]])
    np.testing.assert_array_equal(found.objectness_logits, [2.0, 0.5])
    one = load_config(config_file, ["DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST", "1"])
    assert len(proposals.of_image(7, (100, 100), (50, 200), one)) == 1
    large = load_config(config_file, ["MODEL.PROPOSAL_GENERATOR.MIN_SIZE", "15"])
    assert proposals.of_image(7, (100, 100), (50, 200), large).objectness_logits.tolist() == [2.0]


def test_an_image_that_the_file_lacks_is_named(file: Path, config_file: Path) -> None:
    with pytest.raises(DatasetError, match="no proposals of image 8"):
        load_proposals(written(file)).of_image(8, (10, 10), (10, 10), load_config(config_file))


class Touch:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"boxes": [BOXES, BOXES]}, "lists of one length"),
        ({"boxes": None}, "lists of one length"),
        ({"bbox_mode": 4}, "bbox_mode is '4'"),
        ({"ids": ["seven"]}, "'seven', which is no image's id"),
        ({"boxes": [BOXES[:2]]}, "for 3 scores"),
        ({"boxes": [BOXES[:, :3]]}, "image 7"),
        ({"boxes": [["a"]]}, "no numbers"),
        ({"boxes": [None]}, "no arrays"),
        ({"boxes": [BOXES * np.float32(np.nan)]}, "NaN or infinity"),
        ({"objectness_logits": [LOGITS * np.float32(np.inf)]}, "NaN or infinity"),
        ({"boxes": [Touch()]}, "detectron2 writes it"),
    ],
)
def test_what_is_no_file_of_proposals_is_refused_in_one_line(
    file: Path, changes: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    written(file, **changes)
    with pytest.raises(DatasetError) as refused:
        load_proposals(file)
    assert said in str(refused.value)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not Path("executed").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1, 2])])
def test_what_is_no_pickle_of_a_dict_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(DatasetError, match=r"box_proposals\.pkl"):
        load_proposals(file)


def test_a_missing_file_is_named(file: Path) -> None:
    with pytest.raises(DatasetError, match=r"box_proposals\.pkl: cannot be read"):
        load_proposals(file)


@given(st.integers(1, 900), st.integers(1, 900), st.integers(0, 9))
def test_drawn_proposals_lie_within_their_image_and_are_the_same_again(height: int, width: int, seed: int) -> None:
    drawn = drawn_proposals((height, width), seed)
    boxes = drawn.proposal_boxes.tensor
    assert drawn.proposal_boxes.nonempty().all()
    assert (boxes >= 0).all()
    # Rounded to float32, a corner and a side may be a little over.
    assert (boxes[:, 2:] <= torch.tensor([width, height]) * (1 + 1e-6)).all()
    torch.testing.assert_close(boxes, drawn_proposals((height, width), seed).proposal_boxes.tensor, rtol=0, atol=0)
