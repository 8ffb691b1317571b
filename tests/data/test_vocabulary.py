import json

import pytest

from roastery.data.vocabulary import Vocabulary, load_vocabulary, named_classes
from roastery.errors import ConfigError, DatasetError


@pytest.fixture
def write(tmp_path):
    def write_json(**changes):
        content = {"images": [{"id": 5, "file_name": "a.jpg"}], "categories": [{"id": 1, "name": "a"}]} | changes
        path = tmp_path / "annotations.json"
        path.write_text(json.dumps(content))
        return path

    return write_json


def test_instances_name_classes_by_rising_id(shapes):
    vocabulary = load_vocabulary(shapes / "val/instances.json")

    assert vocabulary.names == ("circle", "square", "triangle")
    assert vocabulary.category_ids == (1, 2, 3)
    assert vocabulary.image_ids["000003.jpg"] == 3
    assert vocabulary.bones_of(0) == ()


def test_keypoints_bring_a_skeleton_counted_from_0(shapes):
    assert load_vocabulary(shapes / "val/keypoints.json").bones_of(0) == ((0, 1), (1, 2), (2, 0))


def test_of_panoptic_annotations_stuff_counts_from_1(shapes):
    vocabulary = load_vocabulary(shapes / "val/panoptic.json")

    assert vocabulary.names == ("circle", "square", "triangle")
    assert [vocabulary.stuff_name(index) for index in (1, 2, 3)] == ["sky", "ground", "stuff 3"]


def test_where_nothing_is_known_there_are_numbers():
    vocabulary = Vocabulary()

    assert vocabulary.name(4) == "class 4"
    assert vocabulary.stuff_name(2) == "stuff 2"
    assert [vocabulary.categories([0, 6])[index] for index in (0, 6)] == [1, 7]
    assert list(vocabulary.categories([])) == [1]


def test_names_of_the_command_line_are_categories_from_1():
    vocabulary = named_classes("a, b c,d")

    assert vocabulary.names == ("a", "b c", "d")
    assert vocabulary.categories([2]) == (1, 2, 3)


@pytest.mark.parametrize("text", ["", "a,,b", "a,", "a,b,a"])
def test_names_that_are_empty_or_twice_are_refused(text):
    with pytest.raises(ConfigError, match="empty or occurs twice"):
        named_classes(text)


@pytest.mark.parametrize("index", [3, -1])
def test_a_class_that_has_no_name_is_refused_where_names_are_known(index):
    with pytest.raises(DatasetError, match=rf"--class-names: the model found class {index}, but 0 to 2 are named"):
        named_classes("a,b,c").name(index)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"categories": []}, "'categories' is not a list with at least one object"),
        ({"categories": [{"id": 1}]}, "category 1 has no name"),
        ({"categories": [{"id": 1, "name": "a"}] * 2}, "the id 1 occurs twice"),
        ({"images": [{"id": 5}]}, "image 5 has no file_name"),
        ({"images": "none"}, "'images' is not a list"),
        *(
            (
                {"categories": [{"id": 1, "name": "a", "keypoints": ["x", "y"], "skeleton": skeleton}]},
                "not two keypoints",
            )
            for skeleton in ([[1, 3]], [[0, 1]], [[1]], [[1, True]], "12", [None], {"a": 1})
        ),
        ({"categories": [{"id": 1, "name": "a", "skeleton": [[1, 2]]}]}, "not two keypoints"),
    ],
)
def test_malformed_annotations_are_refused_in_a_line(write, changes, words):
    with pytest.raises(DatasetError, match=words):
        load_vocabulary(write(**changes))


def test_annotations_that_are_no_file_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        load_vocabulary(tmp_path)
