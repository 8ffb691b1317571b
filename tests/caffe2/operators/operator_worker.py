"""Genuine Caffe2 behind frames, for one operator a request: `conftest.py` is in front of it.

CPython 3.8 with the standard library, numpy and caffe2; started with the two files that Roastery's own worker is.
"""

import importlib.util
import os
import sys


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_detectron_operators():
    """UpsampleNearest and its like lie in a library beside Caffe2's own."""
    import torch
    from caffe2.python import dyndep

    dyndep.InitOpsLibrary(os.path.join(os.path.dirname(torch.__file__), "lib", "libcaffe2_detectron_ops_gpu.so"))  # noqa: PTH118, PTH120


frames = load("array_frames", sys.argv[2])


def handle(request):
    from caffe2.proto import caffe2_pb2
    from caffe2.python import workspace

    load_detectron_operators()
    header, arrays = frames.unpack(request)
    operator = caffe2_pb2.OperatorDef.FromString(bytes.fromhex(header["operator"]))
    workspace.ResetWorkspace()
    for name, array in arrays.items():
        workspace.FeedBlob(name, array)
    try:
        workspace.RunOperatorOnce(operator.SerializeToString())
    except (RuntimeError, IndexError) as error:
        return frames.pack({"refused": str(error)[:500]}, {})
    return frames.pack({}, {name: workspace.FetchBlob(name) for name in operator.output})


load("peer_child", sys.argv[1]).serve(handle)
