"""The reports' pictures of two versions in one: what changed on the images is for people to see."""

import tempfile
from pathlib import Path

from PIL import Image

from roastery.errors import RegistryDamaged
from roastery.prediction.output import check_pictures, save_picture
from roastery.registry.answers import VersionsDiff
from roastery.registry.catalog import Catalog
from roastery.registry.run_files import REPORT_FOLDER
from roastery.registry.versions import find_version

_GAP = 8
_SUFFIX = ".png"


def beside(catalog: Catalog, difference: VersionsDiff, folder: Path) -> list[Path]:
    """Write `report-1.png` and so on: above the first version's, below the second's. Drawn curves are left out.

    Raises:
        OutputError: a folder that cannot be written to, or a file that was not made here.
        RegistryDamaged: a picture that is none.
    """
    names = [name for name, places in difference.pictures.items() if name.endswith(_SUFFIX) and all(places)]
    check_pictures(folder, names)
    runs = [str(find_version(catalog, f"{difference.name}/{number}").run_id) for number in difference.versions]
    written = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="roastery-") as taken:
            files = []
            for number, run in enumerate(runs):
                Path(taken, str(number)).mkdir()
                place = Path(taken, str(number))
                files.append(Path(catalog.client.download_artifacts(run, f"{REPORT_FOLDER}/{name}", str(place))))
            save_picture(_stacked(files, name), folder / name)
        written.append(folder / name)
    return written


def _stacked(files: list[Path], name: str) -> Image.Image:
    try:
        pictures = [Image.open(file, formats=["PNG"]).convert("RGB") for file in files]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RegistryDamaged(f"{name}: the registry's picture is none; convert the model again") from error
    width = max(picture.width for picture in pictures)
    height = sum(picture.height for picture in pictures) + _GAP * (len(pictures) - 1)
    whole, top = Image.new("RGB", (width, height), "white"), 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height + _GAP
    return whole
