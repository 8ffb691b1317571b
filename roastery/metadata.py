"""What a model.onnx says of itself, under which key: written by the exporter, read by the converter."""

MODULE_KEY = "roastery.module"
"""A node's metadata: the dotted name of the module that it came from."""

PLACE_KEY = "roastery.place"
"""A node's metadata: the line of a user's own source that called it, where one did (`places`)."""

OPERATOR_KEY = "roastery.operator"
"""A node's metadata: the operator of Caffe2 that it was lowered from, as the node of that was called."""

NET_ARGUMENTS_KEY = "roastery.net_arguments"
"""The model's metadata: the arguments that its NetDef carries, as JSON."""

CUDA_DEVICE = "cuda:0"
"""The net argument `device` of a net for the GPU, as the original wrote it; "cpu" otherwise."""

BATCH_ARGUMENT = "batch_size"
"""The net argument that says how many images a net takes, where that is not one."""
