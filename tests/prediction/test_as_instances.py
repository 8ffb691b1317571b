"""Proposals and semantic labels seen as instances."""

import pytest
import torch

from roastery.data.vocabulary import Vocabulary
from roastery.prediction.as_instances import as_instances
from roastery.structures import Boxes, Instances

VOCABULARY = Vocabulary("names", ("cat",), (3,), ("things", "sky"))


def test_instances_stay_what_they_are() -> None:
    found = Instances((4, 4), scores=torch.ones(2))
    assert as_instances({"instances": found, "sem_seg": torch.zeros(2, 4, 4)}, VOCABULARY) == (found, VOCABULARY)


def test_a_proposal_has_the_probability_of_its_logit() -> None:
    boxes = Boxes(torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3]]))
    given = Instances((4, 4), proposal_boxes=boxes, objectness_logits=torch.tensor([0.0, -2.0]))
    found, named = as_instances({"proposals": given}, VOCABULARY)
    assert found.scores.tolist() == pytest.approx([0.5, 0.1192029])
    assert [named.name(label) for label in found.pred_classes.tolist()] == ["proposal", "proposal"]


def test_each_label_that_occurs_is_a_mask_with_the_box_around_it() -> None:
    logits = torch.full((3, 3, 4), -5.0)
    logits[0] = 0.0
    logits[1, 1:, 2:3] = 8.0
    found, named = as_instances({"sem_seg": logits}, VOCABULARY)
    assert found.pred_classes.tolist() == [1, 0]
    assert found.pred_boxes.tensor.tolist() == [[2, 1, 3, 3], [0, 0, 4, 3]]
    assert found.pred_masks.sum(dim=(1, 2)).tolist() == [2, 10]
    # e^8 of e^8 + 1 + e^-5.
    assert found.scores[0].item() == pytest.approx(0.999662, abs=1e-6)
    assert [named.name(label) for label in (0, 1, 2)] == ["things", "sky", "stuff 2"]
    assert named.categories([1, 0]) == (0, 1, 2)
