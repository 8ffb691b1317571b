"""The names that detectron2's `catalog://` knows: Detectron's own models, and backbones trained on ImageNet.

Source: detectron2 0.6, checkpoint/catalog.py (`ModelCatalog`).
"""

from roastery.errors import CheckpointError

SCHEME = "catalog://"

_BACKBONES = {
    "MSRA/R-50": "MSRA/R-50.pkl",
    "MSRA/R-101": "MSRA/R-101.pkl",
    "FAIR/R-50-GN": "47261647/R-50-GN.pkl",
    "FAIR/R-101-GN": "47592356/R-101-GN.pkl",
    "FAIR/X-101-32x8d": "20171220/X-101-32x8d.pkl",
    "FAIR/X-101-64x4d": "FBResNeXt/X-101-64x4d.pkl",
    "FAIR/X-152-32x8d-IN5k": "25093814/X-152-32x8d-IN5k.pkl",
}
# Of each run its folder's name, which is the config's with the time and a mark of its own.
_DETECTORS = {
    "35857197/e2e_faster_rcnn_R-50-C4_1x": "12_2017_baselines/e2e_faster_rcnn_R-50-C4_1x.yaml.01_33_49.iAX0mXvW",
    "35857345/e2e_faster_rcnn_R-50-FPN_1x": "12_2017_baselines/e2e_faster_rcnn_R-50-FPN_1x.yaml.01_36_30.cUF7QR7I",
    "35857890/e2e_faster_rcnn_R-101-FPN_1x": "12_2017_baselines/e2e_faster_rcnn_R-101-FPN_1x.yaml.01_38_50.sNxI7sX7",
    "36761737/e2e_faster_rcnn_X-101-32x8d-FPN_1x": "12_2017_baselines/"
    "e2e_faster_rcnn_X-101-32x8d-FPN_1x.yaml.06_31_39.5MIHi1fZ",
    "35858791/e2e_mask_rcnn_R-50-C4_1x": "12_2017_baselines/e2e_mask_rcnn_R-50-C4_1x.yaml.01_45_57.ZgkA7hPB",
    "35858933/e2e_mask_rcnn_R-50-FPN_1x": "12_2017_baselines/e2e_mask_rcnn_R-50-FPN_1x.yaml.01_48_14.DzEQe4wC",
    "35861795/e2e_mask_rcnn_R-101-FPN_1x": "12_2017_baselines/e2e_mask_rcnn_R-101-FPN_1x.yaml.02_31_37.KqyEK4tT",
    "36761843/e2e_mask_rcnn_X-101-32x8d-FPN_1x": "12_2017_baselines/"
    "e2e_mask_rcnn_X-101-32x8d-FPN_1x.yaml.06_35_59.RZotkLKI",
    "48616381/e2e_mask_rcnn_R-50-FPN_2x_gn": "04_2018_gn_baselines/e2e_mask_rcnn_R-50-FPN_2x_gn_0416.13_23_38.bTlTI97Q",
    "37697547/e2e_keypoint_rcnn_R-50-FPN_1x": "12_2017_baselines/e2e_keypoint_rcnn_R-50-FPN_1x.yaml.08_42_54.kdzV35ao",
}
_BACKBONE = "ImageNetPretrained/"
_DETECTOR = "Caffe2Detectron/COCO/"
_COCO = "coco_2014_train%3Acoco_2014_valminusminival"
_KEYPOINTS = "keypoints_coco_2014_train%3Akeypoints_coco_2014_valminusminival"


def catalog_path(address: str) -> str:
    """Where the file of a name lies, under the folder of Detectron's models.

    Raises:
        CheckpointError: the catalog has no detector or backbone of that name.
    """
    name = address.removeprefix(SCHEME)
    backbone, detector = name.removeprefix(_BACKBONE), name.removeprefix(_DETECTOR)
    if name.startswith(_BACKBONE) and backbone in _BACKBONES:
        return f"{_BACKBONE}{_BACKBONES[backbone]}"
    if name.startswith(_DETECTOR) and detector in _DETECTORS:
        run = detector.split("/")[0]
        folder = f"GN/{run}" if detector.endswith("_gn") else run
        data = _KEYPOINTS if "keypoint_rcnn" in detector else _COCO
        return f"{folder}/{_DETECTORS[detector]}/output/train/{data}/generalized_rcnn/model_final.pkl"
    known = [f"{_BACKBONE}{each}" for each in _BACKBONES] + [f"{_DETECTOR}{each}" for each in _DETECTORS]
    raise CheckpointError(f"{address}: detectron2's catalog has no such model; it has {', '.join(known)}")
