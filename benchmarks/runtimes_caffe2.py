"""Run by genuine Caffe2's Python: times one net, a run for each line on stdin (see `runtimes.py`).

python runtimes_caffe2.py FOLDER INPUTS.npz THREADS
"""

import sys
import time

import numpy as np
from caffe2.proto import caffe2_pb2
from caffe2.python import workspace


def load(path):
    net = caffe2_pb2.NetDef()
    with open(path, "rb") as file:  # noqa: PTH123
        net.ParseFromString(file.read())
    return net


def peak_mib():
    with open("/proc/self/status") as status:  # noqa: PTH123
        return int(status.read().split("VmHWM:")[1].split()[0]) / 1024


folder, inputs, _ = sys.argv[1:]
net = load(f"{folder}/model.pb")
workspace.RunNetOnce(load(f"{folder}/model_init.pb").SerializeToString())
arrays = np.load(inputs)
arrays = {name: arrays[name] for name in arrays.files}
for name in arrays:
    workspace.CreateBlob(name)
workspace.CreateNet(net.SerializeToString())


def run():
    for name, array in arrays.items():
        workspace.FeedBlob(name, array)
    workspace.RunNet(net.name)
    return [workspace.FetchBlob(name) for name in net.external_output]


names = list(net.external_output)
# A RetinaNet's maps are not decoded here: what that takes is in the other runtimes' time.
print(len(run()[names.index("score_nms")]) if "score_nms" in names else -1, flush=True)
for _ in sys.stdin:
    started, used = time.perf_counter(), time.process_time()
    run()
    print(time.perf_counter() - started, time.process_time() - used, flush=True)
print(peak_mib())
