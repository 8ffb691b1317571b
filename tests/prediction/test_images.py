from pathlib import Path

import pytest

from roastery.errors import DatasetError
from roastery.prediction.images import find_images, picture_stems


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_folders_images_come_by_name_and_nothing_else_of_it(tmp_path):
    make(tmp_path, "b.JPG", "a.png", "notes.txt", ".hidden.png", "deeper/c.png", "folder.png/d.png")

    assert find_images([tmp_path]) == [tmp_path / "a.png", tmp_path / "b.JPG"]


def test_files_are_taken_as_given_each_once(tmp_path):
    make(tmp_path, "a.png", "b.png")
    given = [tmp_path / "b.png", tmp_path / "none.jpg", tmp_path, tmp_path / "../x.raw", tmp_path / "no/../a.png"]

    assert find_images(given) == [tmp_path / "b.png", tmp_path / "none.jpg", tmp_path / "a.png", tmp_path / "../x.raw"]


def test_a_folder_without_an_image_is_refused(tmp_path):
    make(tmp_path, "notes.txt")

    with pytest.raises(DatasetError, match="holds no image"):
        find_images([tmp_path])


def test_a_name_that_is_too_long_for_a_file_is_no_folder():
    assert find_images([Path("x" * 5000)]) == [Path("x" * 5000)]


@pytest.mark.parametrize(
    ("images", "stems"),
    [
        (["/x/a.jpg", "/x/b.png"], ["a", "b"]),
        (["/x/a.jpg", "/y/a.jpg", "/y/b.jpg"], ["x_a", "y_a", "b"]),
        (["/x/a.jpg", "/x/a.png"], ["x_a", "x_a_2"]),
        (["/x/a.jpg", "/y/A.jpg"], ["x_a", "y_A"]),
        (["/x/a.jpg", "/x/A.png"], ["x_a", "x_A_2"]),
        (["/1/x/a.jpg", "/2/x/a.jpg", "/3/x/a.jpg"], ["x_a", "x_a_2", "x_a_3"]),
        # One that is alone of its name keeps it.
        (["/x/a.jpg", "/y/a.jpg", "/z/x_a.jpg"], ["x_a_2", "y_a", "x_a"]),
        # The map of segments of the one is the picture of the other.
        (["/x/a.jpg", "/x/a.panoptic.jpg"], ["a", "a.panoptic_2"]),
    ],
)
def test_pictures_are_called_as_their_images_and_no_two_alike(images, stems):
    assert picture_stems([Path(image) for image in images]) == stems


def test_a_long_name_has_room_for_what_follows_it():
    (stem, other) = picture_stems([Path(f"/{'f' * 250}/{'ü' * 120}.jpg"), Path(f"/g/{'ü' * 120}.jpg")])

    assert stem != other
    assert all(len(f".{name}.panoptic.png.12345678".encode()) <= 255 for name in (stem, other))
