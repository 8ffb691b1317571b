"""The page of the model zoo, from the table of its configs and the verdicts that the tests hold."""

from docs_commands import cell, code, names_table

from model_zoo.configs import CONFIGS
from model_zoo.families import Settings
from model_zoo.verdicts import refusal

_INTRODUCTION = """\
Each of the {} official configs of detectron2 0.5, and what it comes to here: {} convert, {} do not. A test converts
each that does, with its own depth, heads and classes but few channels, and holds its net, in the torch runtime and in
genuine Caffe2, to the detector and to detectron2's own inference, on images of three sizes: boxes within 0.05 pixel,
scores within 0.001, masks to an IoU of 0.99, keypoints within half a pixel. Another asks for each refusal.
`make zoo` converts all of them at full size.

A config is converted by its name where detectron2's configs are:
[A model of detectron2's zoo](../how-to/one-model.md#a-model-of-detectron2s-zoo) says how."""

_HEADS = {"MODEL.MASK_ON": "masks", "MODEL.KEYPOINT_ON": "keypoints"}
_ARCHITECTURES = {"ProposalNetwork": "proposals", "RetinaNet": "RetinaNet", "SemanticSegmentor": "semantic"}


def zoo_page() -> str:
    """Markdown: a table for each folder of the zoo."""
    converting = sum(refusal(name) is None for name in CONFIGS)
    parts = ["# Model zoo", _INTRODUCTION.format(len(CONFIGS), converting, len(CONFIGS) - converting)]
    for folder in dict.fromkeys(name.partition("/")[0] for name in CONFIGS):
        rows = ["| Config | Backbone | Heads | Converts |", "|---|---|---|---|"]
        for name, settings in CONFIGS.items():
            if name.startswith(f"{folder}/"):
                columns = (backbone(settings), heads(settings), refusal(name) or "yes")
                rows.append(f"| {code(name.partition('/')[2])} | {' | '.join(cell(column) for column in columns)} |")
        parts += [f"## {folder}", names_table(rows)]
    return "\n\n".join(parts) + "\n"


def backbone(settings: Settings) -> str:
    """Such as "R-50 FPN", "X-101 32x8d FPN, GN" or "R-101 DC5"."""
    groups = settings.get("MODEL.RESNETS.NUM_GROUPS", 1)
    net = f"{'R' if groups == 1 else 'X'}-{settings.get('MODEL.RESNETS.DEPTH', 50)}"
    if groups > 1:
        net += f" {groups}x{settings['MODEL.RESNETS.WIDTH_PER_GROUP']}d"
    if "fpn" in settings.get("MODEL.BACKBONE.NAME", ""):
        kind = "FPN"
    else:
        kind = "DC5" if "MODEL.RESNETS.RES5_DILATION" in settings else "C4"
    norm = settings.get("MODEL.RESNETS.NORM")
    deformable = ", deformable" if "MODEL.RESNETS.DEFORM_ON_PER_STAGE" in settings else ""
    return f"{net} {kind}{f', {norm}' if norm else ''}{deformable}"


def heads(settings: Settings) -> str:
    """Such as "cascade of boxes, masks" or "RetinaNet"."""
    architecture = settings.get("MODEL.META_ARCHITECTURE", "GeneralizedRCNN")
    if architecture in _ARCHITECTURES:
        return _ARCHITECTURES[architecture]
    cascade = settings.get("MODEL.ROI_HEADS.NAME") == "CascadeROIHeads"
    found = ["cascade of boxes" if cascade else "boxes", *(word for key, word in _HEADS.items() if key in settings)]
    if settings.get("MODEL.PROPOSAL_GENERATOR.NAME") == "PrecomputedProposals":
        found[0] += " of given proposals"
    return ", ".join([*found, "panoptic"] if architecture == "PanopticFPN" else found)
