"""The NetDef operator table: which Caffe2 operator each ONNX node becomes, one entry an operator.

What has no entry has no Caffe2 form: `look_up` refuses it. Nothing is passed through by name.
"""

from roastery.caffe2.operators import elementwise, functions, maps, norms, reductions, shapes
from roastery.caffe2.operators.table import ArgumentValue, NetOperator, look_up, table

__all__ = [
    "ArgumentValue",
    "NetOperator",
    "elementwise",
    "functions",
    "look_up",
    "maps",
    "norms",
    "reductions",
    "shapes",
    "table",
]
