"""Translations of PyTorch operators to ONNX where the exporter's own say too much for Caffe2.

The exporter computes a zero bias for a convolution without one, spells group normalisation out in ten nodes, and turns
a flatten, a slice and an index into arithmetic on shapes. Caffe2 has each as one operator, so here each becomes one
node. What Caffe2 has not, or not for all numbers (Softplus), is made of parts here, so that the table behind
keeps to one operator a node.
"""

from collections.abc import Callable
from typing import Any

from roastery.export.translations.elementwise import elementwise
from roastery.export.translations.functions import functions
from roastery.export.translations.maps import maps
from roastery.export.translations.norms import norms
from roastery.export.translations.pooling import pooling
from roastery.export.translations.reductions import reductions
from roastery.export.translations.scaling import scaling
from roastery.export.translations.shapes import shapes
from roastery.export.translations.views import views


def plain_translations() -> dict[Any, Callable[..., Any]]:
    """`custom_translation_table` entries for PyTorch's own operators."""
    return {
        **elementwise(),
        **functions(),
        **maps(),
        **norms(),
        **pooling(),
        **reductions(),
        **scaling(),
        **shapes(),
        **views(),
    }
