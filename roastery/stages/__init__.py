"""The stages of a conversion, a file each: what it is asked (a request of JSON), what it does, what it gives.

A request is light: the process that decides what to run imports it without PyTorch. What a stage needs to run is
imported when it runs, in the worker process of its model.
"""

STAGES = ("resolve", "sample", "trace", "export_onnx", "convert", "predict", "evaluate", "report")
"""The stages that make artifacts, in their order. Each is `roastery.stages.<name>`."""
