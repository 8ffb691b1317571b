"""What runs inside the other interpreter: genuine Caffe2 behind frames.

`roastery/caffe2/caffe2_runtime.py` is in front of it.

CPython 3.8 or 3.9 with the standard library, numpy and caffe2, nothing else; started with the paths of the two files
that it shares with Roastery.
"""

import importlib.util
import sys


def _load(name, path):
    """A module from its file: on sys.path, Roastery's own `caffe2` would hide the genuine one."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Worker:
    """One workspace with one net."""

    def __init__(self, frames):
        self.frames = frames
        self.net_name = None

    def handle(self, request):
        header, arrays = self.frames.unpack(request)
        try:
            if header["do"] == "load":
                return self.frames.pack(self.load(arrays), {})
            if self.net_name is None:
                return self.frames.pack({"unloaded": True}, {})
            return self.frames.pack({}, self.run(arrays, header["fetch"]))
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            return self.frames.pack({"error": f"{type(error).__name__}: {error}"}, {})

    def load(self, arrays):
        # Here, because the import prints, and stdout is not safe before the first request.
        from caffe2.proto import caffe2_pb2
        from caffe2.python import workspace
        from google.protobuf.message import DecodeError

        predict, init = caffe2_pb2.NetDef(), caffe2_pb2.NetDef()
        try:
            predict.ParseFromString(arrays["predict"].tobytes())
            init.ParseFromString(arrays["init"].tobytes())
        except DecodeError as error:
            raise ValueError(str(error)) from error
        for operator in init.op:
            # A CUDA net's: it runs on the CPU here.
            operator.ClearField("device_option")
        known = set(workspace.RegisteredOperators())
        unknown = sorted({operator.type for net in (predict, init) for operator in net.op} - known)
        if unknown:
            return {"unknown": unknown}
        workspace.RunNetOnce(init.SerializeToString())
        for name in predict.external_input:
            if not workspace.HasBlob(name):
                workspace.CreateBlob(name)
        predict.name = predict.name or "predict"
        workspace.CreateNet(predict.SerializeToString())
        self.net_name = predict.name
        return {}

    def run(self, arrays, fetch):
        from caffe2.python import workspace

        for name, array in arrays.items():
            workspace.FeedBlob(name, array)
        workspace.RunNet(self.net_name)
        return {name: workspace.FetchBlob(name) for name in fetch}


if __name__ == "__main__":
    _load("peer_child", sys.argv[1]).serve(Worker(_load("array_frames", sys.argv[2])).handle)
