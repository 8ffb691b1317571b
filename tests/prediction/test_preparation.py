import pytest

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.nets import arguments_of
from roastery.errors import ModelFileError
from roastery.prediction.preparation import preparation


def net(**arguments):
    made = caffe2_pb2.NetDef()
    for name, value in arguments.items():
        kind = {int: "i", bytes: "s"}[type(value)]
        setattr(made.arg.add(name=name), kind, value)
    return arguments_of(made)


def values(config):
    return config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST, config.INPUT.FORMAT


def test_a_net_says_how_an_image_is_prepared_unless_the_caller_does():
    ours = net(min_size_test=160, max_size_test=256, input_format=b"RGB")

    assert values(preparation(ours)) == (160, 256, "RGB")
    assert values(preparation(ours, min_size=0, max_size=99, format="L")) == (0, 99, "L")


def test_a_net_that_says_nothing_is_detectron2s_default():
    assert values(preparation(net())) == (800, 1333, "BGR")


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ({"min_size_test": -1}, "--min-size"),
        ({"min_size_test": 10**9}, "--min-size"),
        ({"max_size_test": 0}, "--max-size"),
        ({"input_format": b"YUV-BT.601"}, "--format"),
    ],
)
def test_what_no_image_can_be_prepared_by_is_refused(arguments, option):
    with pytest.raises(ModelFileError, match=option):
        preparation(net(**arguments))
