"""How a Caffe2Model starts its runtime; what it detects is in tests/golden/test_caffe2_model.py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from roastery.caffe2.model import Caffe2Model
from roastery.caffe2.nets import Nets

DATA = np.zeros((1, 3, 4, 4), np.float32)
IM_INFO = np.ones((1, 3), np.float32)


@pytest.mark.parametrize("threads", [1, 2, None])
def test_a_model_runs_with_the_threads_that_it_was_told(
    make_nets: Callable[..., Nets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int | None
) -> None:
    seen: list[int] = []
    original = torch.softmax

    def watched(*inputs: Any, **how: Any) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return original(*inputs, **how)

    monkeypatch.setattr(torch, "softmax", watched)
    lines = [("Softmax", ["data"], ["s"], {}), ("Add", ["s", "w"], ["y"], {})]
    nets = make_nets(lines, inputs=("data", "im_info"), parameters={"w": DATA})
    usual = torch.get_num_threads()
    Caffe2Model(nets).save_protobuf(tmp_path)
    with Caffe2Model.load_protobuf(tmp_path, threads=threads) as model:
        model.run(DATA, IM_INFO)
    with Caffe2Model(nets, threads=threads) as model:
        model.run(DATA, IM_INFO)
    assert seen == [threads or usual] * 2
    assert torch.get_num_threads() == usual
