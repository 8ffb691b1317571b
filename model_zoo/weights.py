"""Weights by chance, the same for the same seed, with which a detector finds something and decides nothing narrowly.

Norms have statistics near those that they see in a drawn image, so that activations neither vanish nor explode however
deep the model is (Mishkin and Matas, All You Need Is a Good Init, arXiv:1511.06422); what scores and moves boxes is
scaled to a spread.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.convolution import FrozenBatchNorm2d
from roastery.detectors.detector import Detector
from roastery.detectors.resnet import BasicBlock, BottleneckBlock
from roastery.reference.build import build_reference

_BRANCH = 0.2
_FOUND_CLASSES = 12
_UNSEEN = -20.0
# Scores of a RetinaNet's finest level that are over its threshold in the drawn image.
_OVER_THRESHOLD = 40
# By the name of a layer that gives no features: how its outputs spread. Deltas are of weight 1, or divided by theirs.
_SPREADS = {
    "objectness_logits": 2.0,
    "anchor_deltas": 0.1,
    "predictor": 0.5,
    "score_lowres": 3.0,
    "cls_score": 1.5,
    "bbox_pred": 0.1,
}


def randomise(detector: Detector, config: CfgNode, single: dict[str, Any], seed: int) -> None:
    """Give a detector weights by chance, fit for images such as that of `single`, in place."""
    generator = torch.Generator().manual_seed(seed)
    handles, last_of_blocks = [], set(_last_norms(detector))
    for name, module in detector.named_modules():
        key = name.rpartition(".")[2]
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            _draw_layer(module, generator)
            if key in _SPREADS:
                handles.append(module.register_forward_hook(_once(_spread(config, key, generator))))
        elif isinstance(module, nn.BatchNorm2d | FrozenBatchNorm2d):
            _draw_affine(module, generator, module in last_of_blocks)
            handles.append(module.register_forward_pre_hook(_once(_measure(generator))))
        elif isinstance(module, nn.GroupNorm):
            _draw_affine(module, generator, module in last_of_blocks)
    # One image through the whole model: each layer is fitted by what those before it, which are, give it.
    build_reference(config, detector)([single])
    for handle in handles:
        handle.remove()


def _draw_layer(module: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, generator: torch.Generator) -> None:
    # He et al.: what follows is a ReLU, or is fitted.
    inputs = module.weight[0].numel()
    if isinstance(module, nn.ConvTranspose2d):
        # A cell of its output has the sum of one tap of each input channel for each stride.
        inputs = module.weight[:, 0].numel() // math.prod(module.stride)
    module.weight.data.normal_(0, math.sqrt(2 / inputs), generator=generator)
    if module.bias is not None:
        module.bias.data.normal_(0, 0.1, generator=generator)


def _last_norms(detector: Detector) -> Iterator[nn.Module]:
    """The norm with which what a block of a ResNet adds ends, of each."""
    for module in detector.modules():
        if isinstance(module, BasicBlock):
            yield from module.conv2.children()
        elif isinstance(module, BottleneckBlock):
            yield from module.conv3.children()


def _draw_affine(module: nn.Module, generator: torch.Generator, last_of_block: bool) -> None:
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    # What a block adds is less than what it is added to: else an error in the last digit grows from block to block,
    # as it does in no trained model.
    scale = _BRANCH if last_of_block else 1.0
    weight.data.uniform_(0.5 * scale, 1.5 * scale, generator=generator)
    bias.data.normal_(0, 0.2 * scale, generator=generator)


def _measure(generator: torch.Generator) -> Callable[[Any, tuple[Tensor]], None]:
    """Statistics near those of what a norm is given."""

    def measure(module: Any, inputs: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3))
        away = torch.empty_like(mean).normal_(0, 0.2, generator=generator)
        module.running_mean.copy_(mean + away * variance.sqrt())
        module.running_var.copy_(variance * torch.empty_like(mean).uniform_(0.5, 2, generator=generator) + 1e-3)

    return measure


def _spread(config: CfgNode, key: str, generator: torch.Generator) -> Callable[[Any, tuple[Tensor], Tensor], Tensor]:
    """Weights with which the outputs of a layer spread as they should, around numbers by chance."""

    def spread(module: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        wanted = _SPREADS[key]
        if config.MODEL.META_ARCHITECTURE == "RetinaNet":
            # Where a sigmoid comes to 1, scores are tied.
            wanted = min(wanted, 1.0)
        elif key == "bbox_pred":
            wanted *= min(config.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS)
        by_channel = output.movedim(1, -1).flatten(0, -2)
        # Of a single row channels differ, not rows.
        deviation = by_channel.std(dim=0).mean() if len(by_channel) > 1 else by_channel.std()
        factor = wanted / (deviation + 1e-6)
        module.weight.data.mul_(factor)
        shift = torch.empty_like(module.bias).normal_(0, 0.3, generator=generator)
        module.bias.data.sub_(by_channel.mean(dim=0)).mul_(factor).add_(shift)
        if key == "cls_score":
            _choose_classes(config, module, generator)
            if config.MODEL.META_ARCHITECTURE == "RetinaNet":
                logits = module.forward(*inputs).flatten().topk(_OVER_THRESHOLD + 1).values
                threshold = config.MODEL.RETINANET.SCORE_THRESH_TEST
                module.bias.data.add_(math.log(threshold / (1 - threshold)) - logits[-2:].mean())
        fitted: Tensor = module.forward(*inputs)
        return fitted

    return spread


def _choose_classes(config: CfgNode, module: Any, generator: torch.Generator) -> None:
    """Leave few classes that are ever found: where hundreds are, scores lie too densely for any margin."""
    retinanet = config.MODEL.META_ARCHITECTURE == "RetinaNet"
    classes: int = (config.MODEL.RETINANET if retinanet else config.MODEL.ROI_HEADS).NUM_CLASSES
    # The same for each stage of a cascade.
    chance = torch.Generator().manual_seed(generator.initial_seed())
    unseen = torch.randperm(classes, generator=chance)[_FOUND_CLASSES:]
    # A RetinaNet's classes for each anchor; else the classes, and the background, which is as likely as all together.
    by_class = module.bias.data.view(-1, classes if retinanet else classes + 1)
    by_class[:, unseen] = _UNSEEN
    if not retinanet:
        by_class[:, -1] += math.log(min(classes, _FOUND_CLASSES))


def _once(hook: Callable[..., Any]) -> Callable[..., Any]:
    """The hook at a module's first call alone: what runs on every level is fitted to the finest."""
    called = False

    def first(*arguments: Any) -> Any:
        nonlocal called
        if called:
            return None
        called = True
        return hook(*arguments)

    return first
