import numpy as np
import pytest
import torch

from roastery.reference import roi_align as module
from roastery.reference.roi_align import roi_align


def channels_last(feature):
    return torch.from_numpy(feature.transpose(1, 2, 0).copy())


# Where genuine Caffe2 and torchvision agree. They differ on a box without width: NaN there, 0 here.
@pytest.mark.parametrize(
    "name", ["aligned", "not_aligned", "sr2", "pool14", "outside", "tiny", "boxes4_batch0", "empty"]
)
def test_it_gives_what_genuine_caffe2_gives(caffe2_case, name):
    (features, rois), (expected,), arguments = caffe2_case("RoIAlign", name)
    images = rois[:, 0].astype(int) if rois.shape[1] == 5 else np.zeros(len(rois), int)
    boxes = torch.from_numpy(rois[:, -4:].copy())
    found = np.zeros_like(expected)
    for image in set(images.tolist()):
        members = images == image
        found[members] = roi_align(
            channels_last(features[image]),
            boxes[members],
            arguments["pooled_h"],
            arguments["spatial_scale"],
            arguments["sampling_ratio"],
            bool(arguments["aligned"]),
        ).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_linear_map_is_pooled_to_the_middles_of_the_bins():
    # Closed form: bilinear samples of a plane are the plane, and their mean is its value in the bin's middle.
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    box = torch.tensor([[8.0, 12.0, 120.0, 100.0]])
    pooled = roi_align(torch.stack([rows, columns], dim=-1), box, 7, 0.25, 0, True)
    middles = (torch.arange(7) + 0.5) / 7
    y = 12 * 0.25 - 0.5 + middles * 88 * 0.25
    x = 8 * 0.25 - 0.5 + middles * 112 * 0.25
    torch.testing.assert_close(pooled[0, 0], y[:, None].expand(7, 7), rtol=0, atol=1e-4)
    torch.testing.assert_close(pooled[0, 1], x[None, :].expand(7, 7), rtol=0, atol=1e-4)


@pytest.mark.parametrize("box", [[8.0, 8.0, 8.0, 20.0], [8.0, 8.0, 20.0, 8.0], [20.0, 20.0, 8.0, 8.0]])
def test_a_box_without_area_is_pooled_to_0(box):
    assert roi_align(torch.ones(10, 10, 3), torch.tensor([box]), 7, 0.25, 0, True).eq(0).all()


def test_pooling_in_parts_gives_the_very_same_bits(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    cells = torch.rand(30, 40, 8, generator=generator)
    corners = torch.rand(50, 2, generator=generator) * 80
    boxes = torch.cat([corners, corners + torch.rand(50, 2, generator=generator) * 80], dim=1)
    whole = roi_align(cells, boxes, 7, 0.25, 0, True)
    monkeypatch.setattr(module, "TAPS_AT_ONCE", 1)
    assert roi_align(cells, boxes, 7, 0.25, 0, True).equal(whole)


def test_no_box_is_pooled_to_no_map():
    assert roi_align(torch.ones(10, 10, 3), torch.zeros(0, 4), 7, 0.25, 0, True).shape == (0, 3, 7, 7)
