"""What a model scored when it was trained: read from what detectron2 leaves, and nothing believed of a stranger's."""

import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roastery.errors import ConfigError
from roastery.training_metrics import read_training_metrics

# As detectron2's JSONWriter writes them: a line every 20 iterations, with evaluations between.
DETECTRON2 = (
    '{"data_time": 0.003, "eta_seconds": 42.0, "iteration": 19, "loss_cls": 0.5, "lr": 0.001, "total_loss": 1.25}\n'
    '{"bbox/AP": 30.5, "bbox/AP-circle": 12.0, "bbox/AP50": 61.0, "iteration": 99, "segm/AP": 28.0}\n'
    '{"bbox/AP": 41.25, "bbox/AP-hot dog": 7, "bbox/APs": NaN, "iteration": 199, "rpn/num_pos_anchors": 12.5}\n'
)


def read(tmp_path, content):
    file = tmp_path / "metrics.json"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_training_metrics(file)


def refused(tmp_path, content):
    with pytest.raises(ConfigError) as told:
        read(tmp_path, content)
    assert "metrics.json" in str(told.value)
    assert str(told.value).isprintable()
    return str(told.value)


def test_of_detectron2s_lines_the_last_figure_of_each_metric_is_read(tmp_path):
    assert read(tmp_path, DETECTRON2) == {
        "bbox/AP": 41.25,
        "bbox/AP-circle": 12.0,
        "bbox/AP-hot dog": 7.0,
        "bbox/AP50": 61.0,
        "segm/AP": 28.0,
        "rpn/num_pos_anchors": 12.5,
    }


@pytest.mark.parametrize("indent", [None, 2])
def test_one_object_is_read_too(tmp_path, indent):
    said = {"bbox/AP": 41.25, "total_loss": 1.0}
    assert read(tmp_path, json.dumps(said, indent=indent) + "\n") == {"bbox/AP": 41.25}


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\n\n", "\n \n"])
def test_lines_may_end_as_they_do_anywhere_and_some_may_be_empty(tmp_path, ends):
    assert read(tmp_path, ends.join(['{"bbox/AP": 1}', '{"bbox/AP": 2}', ""])) == {"bbox/AP": 2.0}


@pytest.mark.parametrize("content", ["", "\n", "{}", "{}\n{}\n", '{"iteration": 3}'])
def test_without_an_evaluation_there_are_no_figures(tmp_path, content):
    assert read(tmp_path, content) == {}


@pytest.mark.parametrize(
    "said",
    [
        '{"total_loss": 1.0, "iteration": 3, "lr": 0.1, "time": 2.0}',
        '{"bbox/AP": NaN, "bbox/AP50": Infinity, "bbox/AP75": -Infinity, "bbox/APl": 1e999}',
        '{"bbox/AP": "41.5", "bbox/AP50": null, "bbox/AP75": true, "bbox/APs": [1], "bbox/APm": {"a": 1}}',
        '{"/AP": 1, "bbox/": 1, "BBOX/AP": 1, "bbox/AP/x": 1, "../AP": 1, "bbox/AP\\n": 1, "bbox/A\\u0000": 1}',
        json.dumps({"bbox/" + "A" * 101: 1}),
        '{"bbox/AP": 1' + "0" * 400 + "}",
    ],
)
def test_losses_times_and_what_is_no_number_are_left_out(tmp_path, said):
    assert read(tmp_path, said) == {}


def test_a_later_figure_that_is_none_does_not_hide_an_earlier_one(tmp_path):
    assert read(tmp_path, '{"bbox/AP": 30.5}\n{"bbox/AP": NaN}\n') == {"bbox/AP": 30.5}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("AP: 3", "line 1 is not JSON"),
        ('{"bbox/AP": 1}\n{"bbox/AP": \n', "line 2 is not JSON"),
        ('{"bbox/AP": 1}\n[1]\n', "line 2 is no JSON object"),
        ("[1, 2]", "line 1 is no JSON object"),
        ("7", "line 1 is no JSON object"),
        ("null", "line 1 is no JSON object"),
        ("[" * 100_000, "line 1 is not JSON"),
        ('{"a":' * 100_000, "line 1 is not JSON"),
        ('{"bbox/AP": ' + "1" * 5000 + "}", "line 1 is not JSON"),
        (b"\xff\xfe{}", "is no text"),
        (b"\x80\x04}q\x00.", "is no text"),
        (b"PK\x03\x04\x00\x00", "line 1 is not JSON"),
    ],
)
def test_what_is_not_such_a_file_is_refused_in_one_line(tmp_path, content, told):
    assert f"{told}; name detectron2's metrics.json" in refused(tmp_path, content)


def test_a_line_that_was_cut_off_by_a_crash_is_named(tmp_path):
    assert "line 3 is not JSON" in refused(tmp_path, DETECTRON2[:-20])


def test_no_file_a_folder_and_a_pipe_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    for name, why in (("none", "No such file"), ("folder", "Is a directory"), ("pipe", "Is a pipe")):
        with pytest.raises(ConfigError, match=rf"{name}\.json: cannot be read \({why}.*; name detectron2's metrics"):
            read_training_metrics(tmp_path / f"{name}.json")


def test_a_huge_file_is_not_read(tmp_path):
    with (tmp_path / "metrics.json").open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(ConfigError, match=r"is larger than 64 MiB; give metrics.json of one training"):
        read_training_metrics(tmp_path / "metrics.json")


FIGURES = st.dictionaries(
    st.from_regex(r"(bbox|segm|keypoints)/[A-Za-z0-9 .:-]{1,20}", fullmatch=True),
    st.floats(0, 100) | st.just(float("nan")) | st.text(max_size=3) | st.none() | st.booleans(),
    max_size=5,
)


@given(lines=st.lists(FIGURES, min_size=1, max_size=6))
def test_the_last_number_of_each_metric_is_what_is_read(tmp_path_factory, lines):
    expected = {}
    for line in lines:
        expected |= {name: value for name, value in line.items() if type(value) is float and not math.isnan(value)}
    folder = tmp_path_factory.mktemp("drawn")
    assert read(folder, "\n".join(json.dumps(line) for line in lines) + "\n") == expected


@given(content=st.binary(max_size=80) | st.text('{}[]":,1eNa/\n ', max_size=80).map(str.encode))
def test_any_file_is_figures_or_one_line(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("drawn")
    try:
        said = read(folder, content)
    except ConfigError as error:
        said = {}
        told = str(error)
    else:
        told = ""
    assert all(type(value) is float for value in said.values())
    assert told.isprintable()
