"""COCO's semantic labels alone, as Panoptic FPN has them: things are one label, stuff has one for each class.

Source: detectron2 0.5, data/datasets/coco.py (`load_sem_seg`) for what goes together, builtin_meta.py for the names.
"""

from pathlib import Path

from roastery.data.coco import CocoDataset, ImageRecord, require_folder
from roastery.data.coco_files import check_files
from roastery.data.label_png import png_size
from roastery.data.panoptic import THINGS
from roastery.data.sem_seg import labelled_dataset
from roastery.errors import DatasetError

LABELS = (
    THINGS,
    *("banner", "blanket", "bridge", "cardboard", "counter", "curtain", "door-stuff", "floor-wood", "flower", "fruit"),
    *("gravel", "house", "light", "mirror-stuff", "net", "pillow", "platform", "playingfield", "railroad", "river"),
    *("road", "roof", "sand", "sea", "shelf", "snow", "stairs", "tent", "towel", "wall-brick", "wall-stone"),
    *("wall-tile", "wall-wood", "water-other", "window-blind", "window-other", "tree-merged", "fence-merged"),
    *("ceiling-merged", "sky-other-merged", "cabinet-merged", "table-merged", "floor-other-merged", "pavement-merged"),
    *("mountain-merged", "grass-merged", "dirt-merged", "paper-merged", "food-other-merged", "building-other-merged"),
    *("rock-merged", "wall-other-merged", "rug-merged"),
)
"""Label to name: 0 for all things, then stuff by rising id of COCO's category."""


def load_coco_stuff(
    name: str, images: Path, annotations: Path, links_into: Path | None = None, *, decode: bool = True
) -> CocoDataset:
    """The images that have a PNG of labels: a dataset of no instances and no categories.

    Images have the ids 1, 2, ... by name.

    Args:
        annotations: folder of the PNGs, each called as its image.
        links_into: links among the PNGs may lead there too.
        decode: whether every PNG is decoded and checked now, or when its labels are asked for.

    Raises:
        DatasetError: no image that has a PNG; a file outside of its folder, or a PNG that is none.
    """
    for folder in (images, annotations):
        require_folder(name, folder)
    stems = sorted({file.stem for file in annotations.glob("*.png")} & {file.stem for file in images.glob("*.jpg")})
    if not stems:
        raise DatasetError(f"{annotations}: holds no PNG called as an image of {images}; name the right folders")
    numbered = list(enumerate(stems, start=1))
    pictures = [(number, images / f"{stem}.jpg") for number, stem in numbered]
    truths = [(number, annotations / f"{stem}.png") for number, stem in numbered]
    check_files(pictures, images, annotations)
    check_files(truths, annotations, annotations, links_into, "PNGs of labels")
    records = tuple(
        ImageRecord(number, picture, *png_size(truth))
        for (number, picture), (_, truth) in zip(pictures, truths, strict=True)
    )
    paths = tuple(truth for _, truth in truths)
    return labelled_dataset(name, images, annotations, records, paths, LABELS, "coco_stuff", decode=decode)
