"""What genuine Caffe2 gave, post-processed, against what detectron2 gave."""

import numpy as np
import torch

from roastery.postprocess.instances import assemble_instances, resize_to_original


def test_masks_of_genuine_caffe2_pasted_are_detectron2s_masks(golden):
    # No golden image is padded, so Caffe2 saw what detectron2 saw.
    raw = np.load(golden / "mask_rcnn_fpn" / "caffe2_io.npz")
    expected = np.load(golden / "mask_rcnn_fpn" / "pytorch_outputs.npz")
    for image in range(4):
        outputs = {
            name: torch.from_numpy(raw[f"{image}/out/{name}"])
            for name in ("bbox_nms", "score_nms", "class_nms", "mask_fcn_probs")
        }
        height, width, _ = raw[f"{image}/image_bgr"].shape
        (found,) = assemble_instances(outputs, [tuple(int(side) for side in raw[f"{image}/im_info"][0, :2])])
        resized = resize_to_original(found, height, width)
        masks = np.unpackbits(expected[f"{image}/pred_masks"], axis=2)[:, :, :width].astype(bool)
        assert resized.pred_classes.tolist() == expected[f"{image}/pred_classes"].tolist()
        pasted = resized.pred_masks.numpy()
        union = (pasted | masks).sum((1, 2))
        assert ((pasted & masks).sum((1, 2)) / union).min() >= 0.99
