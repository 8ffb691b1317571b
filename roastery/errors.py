"""The errors of Roastery: what a user can mend, and what broke.

`UserError` and its subclasses carry one sentence that names the thing, the place and the way out; the command line
prints it and exits with 2, and no task retries it (but for `StoreRefused`). Everything else fails loudly, or, where it
may pass (network, busy database, a worker that died), is retried by the task that met it.
"""

_LONGEST = 3000


class RoasteryError(Exception):
    """Every error that Roastery raises itself.

    `log` is what was logged before it, where another process raised it.
    """

    log: str = ""


class UserError(RoasteryError):
    """Something that the user can mend. The message is one line: the thing, the place, the way out.

    It may quote names out of a stranger's file: what would break the line, or turn it round, is escaped, and the middle
    of what is endless is left out.
    """

    def __init__(self, message: str) -> None:
        shown = "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in message)
        super().__init__(shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 500]} … {shown[-480:]}")


class ConfigError(UserError):
    """A config that cannot be read or that asks for what is not there."""


class CheckpointError(UserError):
    """A checkpoint that cannot be read, is unsafe to read, or does not fit its config."""


class DatasetError(UserError):
    """A dataset that is missing, malformed or empty."""


class UnsupportedOperator(UserError):
    """An operator without a form in the target, or a NetDef operator that a runtime does not have."""


class UnsupportedModule(UserError):
    """A module of a live model that a net has no operators for, or that overrides what they do."""


class Detectron2Unavailable(UserError):
    """No detectron2 is installed, or it cannot be imported."""


class ModelFileError(UserError):
    """A model.pb, model_init.pb, model.onnx or model.pt2 that is missing, damaged or not what it should be."""


class OutputError(UserError):
    """A folder that cannot be written to: it is a file, holds what is not ours, or its disk is full."""


class Caffe2Unavailable(UserError):
    """No interpreter with genuine Caffe2 was found."""


class OnnxRuntimeUnavailable(UserError):
    """ONNX Runtime is not installed, or it cannot be imported."""


class DrawingUnavailable(UserError):
    """A net could not be drawn, because graphviz's `dot` is missing or took too long; the rest goes on."""


class GateFailed(UserError):
    """The converted model is not as good as the original; it was not registered as such."""


class DiskFull(UserError):
    """No space left where something is written; nothing half-written stays."""


class StoreRefused(UserError):
    """The artifact store refuses a write, or to be read. It may allow it when asked again, so a task asks again."""


class RegistryRefused(UserError):
    """The registry refuses what it is asked: a bad address, a name or a right that is wanting."""


class RegistryDamaged(UserError):
    """What the registry holds of a version is not what was filed."""


class StoreUnavailable(RoasteryError):
    """The artifact store did not answer: it may answer when asked again."""


class ArtifactMissing(RoasteryError):
    """An artifact that a stage was given is gone from the store, or damaged: the next run builds it again."""


class RegistryUnavailable(RoasteryError):
    """The registry did not answer, or was busy: it may answer when asked again."""


class WeightsUnavailable(RoasteryError):
    """The address of a checkpoint did not answer, or broke off: it may answer when asked again."""


class OperatorError(RoasteryError):
    """An operator was given inputs that it refuses (genuine Caffe2 refuses them too, or would crash)."""


class RuntimeFailed(RoasteryError):
    """A runtime died, hung or failed while it ran a net; its last words are in the message."""


class RuntimeTimedOut(RuntimeFailed):
    """A process did not answer in time, and was killed."""
