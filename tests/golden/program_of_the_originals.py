"""A program for the original converter's files, as detectron2 0.5's `Caffe2Model` is one; genuine Caffe2's own Python.

    python program_of_the_originals.py FOLDER INPUTS.npz ANSWERS.npz

It knows of the files only what that class relied on: the parameters come from the init net, what is left of the predict
net's external inputs is fed in its order, the outputs are fetched by the names in `external_output`, and three
arguments of the net say how to prepare an image and what to make of the outputs. INPUTS has `<k>/<i>`, the i-th input
of image k; ANSWERS gets `<k>/<blob>` as fetched, `<k>/<field>` as the class's converter would assemble it, and the
arguments.
"""

import sys

import numpy as np
from caffe2.proto import caffe2_pb2
from caffe2.python import core, workspace


def load(path):
    net = caffe2_pb2.NetDef()
    with open(path, "rb") as file:  # noqa: PTH123
        net.ParseFromString(file.read())
    return net


def argument(net, name):
    (found,) = [each for each in net.arg if each.name == name]
    return found


class Program:
    def __init__(self, folder):
        self.net = core.Net(load(f"{folder}/model.pb"))
        workspace.RunNetOnce(load(f"{folder}/model_init.pb"))
        self.inputs = [blob for blob in self.net.Proto().external_input if blob not in workspace.Blobs()]
        for blob in self.inputs:
            workspace.CreateBlob(blob)
        workspace.CreateNet(self.net)

    def run(self, arrays):
        assert len(arrays) == len(self.inputs), (len(arrays), self.inputs)
        for blob, array in zip(self.inputs, arrays):  # noqa: B905  (CPython 3.8)
            workspace.FeedBlob(blob, array)
        workspace.RunNet(self.net.Proto().name)
        names = list(self.net.Proto().external_output)
        outputs = {name: workspace.FetchBlob(name) for name in names}
        for name in names:
            # So that nobody takes the outputs of this run for the next one's: the net has to take a blob of no tensor.
            workspace.FeedBlob(name, f"{name}, a C++ native class of type nullptr (uninitialized).")
        assert all(isinstance(array, np.ndarray) for array in outputs.values())
        return outputs


def assemble(outputs):
    classes = outputs["class_nms"].astype(np.int64)
    fields = {"pred_boxes": outputs["bbox_nms"], "scores": outputs["score_nms"], "pred_classes": classes}
    if "mask_fcn_probs" in outputs:
        fields["pred_masks"] = outputs["mask_fcn_probs"][np.arange(len(classes)), classes][:, None]
    return fields


def main(folder, inputs, answers):
    given = np.load(inputs)
    program = Program(folder)
    images = sorted({key.split("/")[0] for key in given.files})
    found = {"order": np.array(list(program.net.Proto().external_output))}
    for image in images:
        count = sum(key.startswith(f"{image}/") for key in given.files)
        outputs = program.run([given[f"{image}/{number}"] for number in range(count)])
        found.update({f"{image}/{name}": array for name, array in {**outputs, **assemble(outputs)}.items()})
    net = program.net.Proto()
    found["size_divisibility"] = np.array(argument(net, "size_divisibility").i)
    found["device"] = np.array(argument(net, "device").s.decode("ascii"))
    found["meta_architecture"] = np.array(argument(net, "meta_architecture").s.decode("ascii"))
    np.savez(answers, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
