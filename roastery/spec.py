"""What is registered: models, datasets, and how the pipeline treats them.

`configs/models/*.yaml` holds a ModelSpec each, `configs/datasets/*.yaml` a DatasetSpec each, `configs/pipeline.yaml`
the PipelineConfig. A relative path in a model's or a dataset's YAML starts at the project's root: the folder that holds
the `configs` folder in which the YAML lies; the paths of a YAML that lies in no such folder start beside it. Relative
places in PipelineConfig (store, registry) start at the folder that a run is started in.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from roastery.address import SECRET_ERROR, Address
from roastery.errors import CheckpointError, ConfigError
from roastery.extensions import ENTRY
from roastery.home import at_home
from roastery.reference_uri import REFERENCE, is_reference
from roastery.safe_yaml import read_yaml
from roastery.targets import TargetName
from roastery.weights.address import check_address, is_address
from roastery.zoo import find_in_zoo

Runtimes = Literal["torch", "caffe2", "both", "auto"]
"""Which runtimes judge a Caffe2 model. `auto`: both where genuine Caffe2 is installed, else torch."""

SourceKind = Literal["native", "detectron2"]
"""Who builds a detector: Roastery's own parts, or the installed detectron2."""

Format = Literal["coco", "coco_stuff", "lvis", "cityscapes", "cityscapes_sem_seg", "pascal_voc"]
"""In which form annotations lie on the disk."""

# A name becomes part of file names, of an MLflow model's name and of Prefect's run names.
SAFE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$"
DaskAddress = Annotated[str, Field(pattern=r"^(tcp|tls)://[A-Za-z0-9._:\[\]-]+:[0-9]{1,5}$")]
# Beside a SQLite database, the folder of its artifacts has an experiment's name.
_EXPERIMENT = r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,79}$"
_SHA256 = r"^[0-9a-f]{64}$"
_PROJECT_MARK = "configs"
_MODEL_PATHS = ("config", "weights", "modules_from")
_DATASET_PATHS = (
    *("images", "annotations", "sample_images", "sample_annotations"),
    *("panoptic", "panoptic_masks", "sem_seg", "links_into"),
    *("proposals", "sample_proposals"),
)

PLACE_VARIABLES = {"store": "ROASTERY_STORE", "tracking_uri": "ROASTERY_TRACKING_URI"}
"""Keys of PipelineConfig, and the variables of the environment that go over them: each machine has its own places."""

DEFAULT_STORE = ".roastery/store"
DEFAULT_TRACKING_URI = "sqlite:///.roastery/mlflow.db"


class _Spec(BaseModel):
    # An address that is refused for the secret in it must not be told with it.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class GateSpec(_Spec):
    """How much a converted model may differ. See `roastery.evaluation.gate.GatePolicy`."""

    max_ap_delta: float = Field(0.1, ge=0, le=100, description="AP points, 0..100, that may be lost")
    two_sided: bool = Field(True, description="whether AP gained counts as a difference too")
    require_parity: bool = Field(True, description="whether the net's outputs must equal the detector's on the sample")


class ExportSpec(_Spec):
    """What kind of net is made of a model."""

    batch: int = Field(1, ge=1, le=64, description="images that the net takes at once, each found in as if alone")
    decode: bool = Field(
        False, description="whether a RetinaNet's net gives detections, instead of the original's raw maps"
    )


def _each_once(targets: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(targets)) != len(targets):
        raise ValueError(f"{', '.join(targets)}: a target is there twice; name each once")
    return targets


Targets = Annotated[tuple[TargetName, ...], Field(min_length=1), AfterValidator(_each_once)]
LayerPattern = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.*?\[\]!-]{1,200}$")]


class Int8Spec(_Spec):
    """How a model of whole numbers of 8 bits is made."""

    float_layers: tuple[LayerPattern, ...] = Field(
        (), description="layers that stay float32: names of the detector's modules, or globs such as `backbone.fpn_*`"
    )
    gate: GateSpec = Field(
        GateSpec(max_ap_delta=1.0, two_sided=True, require_parity=False),
        description="its own gate; its outputs are not the detector's, so that parity is not asked for",
    )


Extension = Annotated[str, Field(pattern=ENTRY)]
Tag = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:=/-]{0,63}$")]


class ModelSpec(_Spec):
    """A registered model: where its config, weights and data are, and how it is judged."""

    name: str = Field(
        pattern=SAFE_NAME,
        description="its name in the registry; the converted one is `<name>.caffe2`, or as its target has it",
    )
    config: Path | None = Field(
        None,
        description="detectron2's YAML: dumped whole, with `_BASE_`, or its name in the model zoo; with `source: "
        "detectron2` also a LazyConfig, a .py file, which is code that runs",
    )
    weights: Address = Field(
        min_length=1,
        description="the checkpoint: .pkl, .pth or .safetensors, by its path or an address (`detectron2://`, "
        "`https://`, `s3://`, ...); or a registered source, `models:/NAME/VERSION` or `models:/NAME@ALIAS`, which has "
        "its config with it",
    )
    weights_sha256: str | None = Field(None, pattern=_SHA256, description="the digest that the checkpoint must have")
    config_sha256: str | None = Field(
        None, pattern=_SHA256, description="the digest that the whole config must have, as a version's tag says it"
    )
    dataset: str = Field(pattern=SAFE_NAME, description="name of the DatasetSpec that it is evaluated on")
    overrides: tuple[str, ...] = Field((), description="KEY VALUE pairs over the config")
    source: SourceKind = Field(
        "native",
        description="who builds the detector from config and weights: `native` is Roastery's own parts, `detectron2` "
        "the installed detectron2, whose live model is also what the converted one is measured by",
    )
    custom_modules: tuple[Extension, ...] = Field(
        (),
        description="modules to import before the model is built, which register its parts; `module:function` is "
        "called with the config first. Code that runs",
    )
    modules_from: Path | None = Field(
        None,
        description="folder in which custom modules are found beside what is installed; default: the project's root",
    )
    targets: Targets | None = Field(None, description="what it is converted to, instead of the pipeline's targets")
    runtimes: Runtimes = Field("auto", description="which runtimes judge the Caffe2 model")
    export: ExportSpec = Field(ExportSpec(), description="what kind of net is made")
    int8: Int8Spec = Field(Int8Spec(), description="of target onnxruntime-int8: how it is quantized and judged")
    tags: tuple[Tag, ...] = Field((), description="words of the team's own, by which fleets are selected")
    gate: GateSpec | None = Field(None, description="a gate of its own, instead of the pipeline's")

    @model_validator(mode="after")
    def _has_one_config(self) -> "ModelSpec":
        if self.is_registered and not re.fullmatch(REFERENCE, self.weights):
            raise ValueError("weights: write models:/NAME/VERSION or models:/NAME@ALIAS")
        if is_address(self.weights):
            try:
                check_address(self.weights)
            except CheckpointError as error:
                raise ValueError(f"weights: {error}") from None
        if self.is_registered and (self.config is not None or self.overrides):
            raise ValueError("a registered source has its config with it; leave out config and overrides")
        if self.is_registered and self.has_code:
            raise ValueError("a registered source is native and has no code with it; name its config and checkpoint")
        if self.config is not None and self.config.suffix == ".py" and self.source != "detectron2":
            raise ValueError(f"config: {self.config} is a LazyConfig, which only `source: detectron2` builds; add that")
        if self.config is None and not self.is_registered:
            raise ValueError("config is missing; add detectron2's YAML, or name a registered source in weights")
        return self

    @property
    def has_code(self) -> bool:
        """Whether building the model runs code beside Roastery's."""
        return self.source != "native" or bool(self.custom_modules)

    @property
    def is_registered(self) -> bool:
        """Whether config and weights are those of a registered source, which are to be fetched first."""
        return is_reference(self.weights)


class DatasetSpec(_Spec):
    """A dataset, in COCO's format or another: what a model is evaluated on, and other images to sample from."""

    name: str = Field(pattern=SAFE_NAME, description="what models call it by")
    format: Format = Field("coco", description="in which form the annotations lie on the disk")
    images: Path = Field(description="folder of the evaluation images")
    annotations: Path = Field(
        description="COCO JSON of the evaluation images. Of lvis its JSON, of coco_stuff the folder of label PNGs, of "
        "cityscapes the folder gtFine/SPLIT, of pascal_voc the list ImageSets/Main/SPLIT.txt"
    )
    sample_images: Path | None = Field(None, description="folder to sample from; default: the evaluation images")
    sample_annotations: Path | None = Field(None, description="COCO JSON of the images to sample from")
    panoptic: Path | None = Field(None, description="COCO panoptic JSON of the evaluation images")
    panoptic_masks: Path | None = Field(None, description="folder of the PNGs that it names, of segment ids")
    sem_seg: Path | None = Field(None, description="folder of PNGs named as the images, of semantic labels; 0: things")
    links_into: Path | None = Field(
        None, description="folder into which links among the files may lead; default: none leads out of its own folder"
    )
    proposals: Path | None = Field(
        None, description="detectron2's pickle of proposals, for models that take them (MODEL.LOAD_PROPOSALS)"
    )
    sample_proposals: Path | None = Field(None, description="the same of the images to sample from")

    @model_validator(mode="after")
    def _panoptic_is_whole(self) -> "DatasetSpec":
        given = [path is not None for path in (self.panoptic, self.panoptic_masks, self.sem_seg)]
        if any(given) and not all(given):
            raise ValueError("panoptic, panoptic_masks and sem_seg go together; give all three or none")
        if any(given) and self.format != "coco":
            raise ValueError(
                f"panoptic, panoptic_masks and sem_seg are of COCO's format, not {self.format}; leave them out"
            )
        return self

    @property
    def sampled_from(self) -> tuple[Path, Path]:
        """Folder and annotations that samples come from."""
        return self.sample_images or self.images, self.sample_annotations or self.annotations


class SampleSpec(_Spec):
    """How many images the net is compared on with the detector, and which."""

    n: int = Field(16, ge=1, le=1000, description="how many images")
    seed: int = Field(0, ge=0, description="which images: one seed, one choice")


class Timeouts(_Spec):
    """Seconds after which a stage is killed, and retried."""

    fetch: float = Field(7200, gt=0, description="fetching a checkpoint from its address")
    resolve: float = Field(300, gt=0, description="digests of config, checkpoint and dataset")
    sample: float = Field(300, gt=0, description="reading the sampled images")
    trace: float = Field(900, gt=0, description="`torch.export`, and the detector's outputs on the sample")
    export_onnx: float = Field(900, gt=0, description="the program to ONNX")
    convert: float = Field(
        900,
        gt=0,
        validation_alias=AliasChoices("convert", "convert_caffe2"),
        description="ONNX to one target, and parity in every runtime of it",
    )
    predict: float = Field(3600, gt=0, description="one shard of one target")
    evaluate: float = Field(1800, gt=0, description="COCO's figures and the verdict")
    report: float = Field(600, gt=0, description="pictures, curves and pages")
    log: float = Field(300, gt=0, description="filing it in the registry")
    recall: float = Field(300, gt=0, description="taking a converted model out of the registry")
    model: float = Field(21600, gt=0, description="a model's whole run in a fleet")

    def of(self, stage: str) -> float:
        return float(getattr(self, stage))


class RetrySpec(_Spec):
    """How a stage is tried again after an error that may pass."""

    times: int = Field(3, ge=0, le=20, description="how often, after the first time")
    delay: float = Field(2.0, ge=0, description="seconds before the first retry; each further one waits twice as long")
    jitter: float = Field(0.5, ge=0, description="how much of the delay is left to chance")


# What libraries read secrets from; a config sets no other variable.
SecretVariable = Annotated[str, Field(pattern=r"^(AWS_|AZURE_|FSSPEC_|GOOGLE_|MLFLOW_TRACKING_|PG)[A-Z0-9_]+$")]
BlockName = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,100}$")]


class PipelineConfig(_Spec):
    """Where artifacts and versions go, and how stages are run and judged."""

    store: Address = Field(DEFAULT_STORE, min_length=1, description="folder or fsspec URL of the artifacts")
    tracking_uri: Address = Field(DEFAULT_TRACKING_URI, min_length=1, description="MLflow's tracking URI")
    experiment: str = Field("roastery", pattern=_EXPERIMENT, description="MLflow's experiment")
    targets: Targets = Field(("caffe2",), description="what models are converted to")
    shards: int = Field(2, ge=1, le=1000, description="into how many tasks the evaluation images are split")
    dask: DaskAddress | None = Field(
        None, description="a Dask cluster's scheduler, as tcp://host:8786, whose workers do these tasks"
    )
    processes: int | None = Field(
        None,
        ge=1,
        le=256,
        description="how many models are converted at a time on one machine; default: one for each core that memory "
        "allows",
    )
    threads: int | None = Field(None, ge=1, le=256, description="threads of each; default: the cores, shared")
    runs_at_once: int = Field(
        100, ge=1, le=5000, description="how many runs of a fleet wait or run at a time where workers do them"
    )
    secrets: dict[SecretVariable, BlockName] = Field(
        {}, description="variables of the environment, and the Prefect Secret blocks that they come from if not set"
    )
    sample: SampleSpec = SampleSpec()
    gate: GateSpec = GateSpec()
    timeouts: Timeouts = Timeouts()
    retries: RetrySpec = RetrySpec()


_AnySpec = TypeVar("_AnySpec", bound=_Spec)


def load_models(directory: Path) -> dict[str, ModelSpec]:
    """The registered models by name, in the order of their names.

    Raises:
        ConfigError: no such folder, nothing in it, a YAML that is not a ModelSpec, or a name that is there twice.
    """
    return _load_folder(directory, ModelSpec, _MODEL_PATHS)


def load_model(file: Path) -> ModelSpec:
    """The registered model of one YAML.

    Raises:
        ConfigError: no such file, or not a ModelSpec.
    """
    return _load_file(file, ModelSpec, _MODEL_PATHS)


def load_datasets(directory: Path) -> dict[str, DatasetSpec]:
    """The registered datasets by name.

    Raises:
        ConfigError: as `load_models`.
    """
    return _load_folder(directory, DatasetSpec, _DATASET_PATHS)


def registered_datasets(directory: Path) -> dict[str, DatasetSpec]:
    """As `load_datasets`; none where the folder is not there or empty: detectron2's own need no registering.

    Raises:
        ConfigError: a YAML that is not a DatasetSpec, or a name that is there twice.
    """
    return load_datasets(directory) if any(_yamls(directory)) else {}


def load_pipeline(path: Path) -> PipelineConfig:
    """The pipeline's configuration. ROASTERY_STORE and ROASTERY_TRACKING_URI go over what the file says.

    Raises:
        ConfigError: no such file, or not a PipelineConfig.
    """
    content = _read(path)
    for key, variable in PLACE_VARIABLES.items():
        if os.environ.get(variable):
            content[key] = os.environ[variable]
    return _parse(path, content, PipelineConfig)


def over_pipeline(config: PipelineConfig, over: Mapping[str, Any]) -> PipelineConfig:
    """The configuration with some of its keys changed.

    Raises:
        ConfigError: a value that is none of a PipelineConfig.
    """
    return _parse(Path("options"), config.model_dump() | dict(over), PipelineConfig)


def project_root(path: Path) -> Path:
    """Where the relative paths of a YAML start: the folder over the nearest `configs`, else the YAML's own folder."""
    path = path.absolute()
    for folder in path.parents:
        if folder.name == _PROJECT_MARK:
            return folder.parent
    return path.parent


def _load_folder(directory: Path, kind: type[_AnySpec], path_keys: tuple[str, ...]) -> dict[str, _AnySpec]:
    if not directory.is_dir():
        raise ConfigError(f"{directory}: no such folder; say where the {_plural(kind)} are registered")
    files = _yamls(directory)
    if not files:
        raise ConfigError(f"{directory}: holds no YAML; register a {_plural(kind)[:-1]} there, one file each")
    specs: dict[str, _AnySpec] = {}
    found_in: dict[str, Path] = {}
    for file in files:
        spec = _load_file(file, kind, path_keys)
        name: str = getattr(spec, "name")  # noqa: B009  (the bound of the type variable has no name)
        if name in specs:
            raise ConfigError(f"{file}: name: {name!r} is registered in {found_in[name]} too; rename one of them")
        specs[name], found_in[name] = spec, file
    return dict(sorted(specs.items()))


def _yamls(directory: Path) -> list[Path]:
    return sorted([*directory.glob("*.yaml"), *directory.glob("*.yml")])


def _load_file(file: Path, kind: type[_AnySpec], path_keys: tuple[str, ...]) -> _AnySpec:
    content = _read(file)
    rooted = {key: _rooted(file, value) if key in path_keys else value for key, value in content.items()}
    if kind is ModelSpec and isinstance(content.get("config"), str) and not os.path.exists(rooted["config"]):  # noqa: PTH110
        rooted["config"] = find_in_zoo(content["config"]) or rooted["config"]
    if kind is ModelSpec and content.get("custom_modules") and "modules_from" not in content:
        rooted["modules_from"] = str(project_root(file))
    return _parse(file, rooted, kind)


def _plural(kind: type[_Spec]) -> str:
    return f"{kind.__name__.removesuffix('Spec').lower()}s"


def _rooted(file: Path, value: Any) -> Any:
    """A relative path as an absolute one; what is no path (a URI, a number) as it stands, for the spec to judge."""
    if not isinstance(value, str) or not value or "://" in value or is_reference(value):
        return value
    return str(project_root(file) / at_home(value))


def _read(file: Path) -> dict[str, Any]:
    try:
        content = read_yaml(file)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); name a YAML file") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not YAML ({_one_line(error)}); mend it") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{file}: not a mapping of keys to values; write `key: value` lines")
    return content


def _parse(file: Path, content: dict[str, Any], kind: type[_AnySpec]) -> _AnySpec:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = error.errors()
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(f"{file}: {_describe(problems[0], kind)}{more}") from error


def _describe(problem: Any, kind: type[_Spec]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["loc"][:1] == ("secrets",) and problem["loc"][-1] != "[key]":
        # Whoever wrote the secret itself there is not told it.
        return (
            f"{key}: is not the name of a Prefect Secret block; write VARIABLE: block, in letters a-z, digits and '-'"
        )
    ways: dict[str, Callable[[], str]] = {
        "extra_forbidden": lambda: f"unknown key; a {kind.__name__} has {', '.join(kind.model_fields)}",
        "missing": lambda: "is missing; add it",
        "value_error": lambda: str(problem["ctx"]["error"]),
        SECRET_ERROR: lambda: str(problem["msg"]),
    }
    way = ways.get(problem["type"])
    text = way() if way else f"{problem['msg'][:1].lower()}{problem['msg'][1:]}, not {problem['input']!r}"
    return f"{key}: {text}" if key else text


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
