"""One model looked at closely: a version, two beside each other, and all that happened."""

import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from roastery.errors import ConfigError, ModelFileError, RegistryDamaged
from roastery.output_folder import replaced_folder
from roastery.reference_uri import SCHEME, parse_reference
from roastery.registry.aliases import moves
from roastery.registry.answers import Event, Fetched, VersionAnswer, VersionsDiff
from roastery.registry.catalog import Catalog
from roastery.registry.filed import fetched
from roastery.registry.listing import answer, latest, moment, source_of
from roastery.registry.logged_model import MODEL_ID_TAG
from roastery.registry.place import newest
from roastery.registry.record import REEVALUATES_TAG, name_mark, split_name
from roastery.registry.run_files import COMMAND_FILE, MANIFEST_FILE, REPORT_FOLDER
from roastery.registry.sources import CHECKPOINT_TAG
from roastery.report.files import PICTURE_SUFFIXES
from roastery.targets import suffixes
from roastery.targets.target import Target

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

Value = TypeVar("Value")
_SHORT = 1000


def find_version(catalog: Catalog, text: str) -> "ModelVersion":
    """A converted version: `NAME` (the newest), `NAME/VERSION` or `NAME@ALIAS`, with or without `models:/`.

    NAME is a registered name, as `m.onnx`; or a model's, of which the first of its targets is taken, Caffe2 before
    others.

    Raises:
        ConfigError: there is none.
    """
    plain = text.removeprefix(SCHEME)
    name, _, rest = plain.partition("@") if "@" in plain else plain.partition("/")
    models = map(catalog.registered_model, _names(name))
    model = next((each for each in models if each is not None and newest(each) is not None), None)
    if model is None:
        raise ConfigError(f"{name}: has no converted version in {catalog.tracking_uri}; `roastery models` lists all")
    found: ModelVersion | None = newest(model)
    if rest:
        asked = parse_reference(f"{model.name}{plain[len(name) :]}")
        found = catalog.version(model.name, asked.version, asked.alias)
    if found is None:
        held = ", ".join(sorted(model.aliases)) or "none"
        raise ConfigError(f"{text}: there is no such version; {model.name} has the aliases {held}")
    return found


def _names(name: str) -> list[str]:
    """The registered names that a name may mean."""
    return [name] if split_name(name) else [name + suffix for suffix in suffixes()]


def _model_of(name: str) -> str:
    """The model that a name is of."""
    named = split_name(name)
    return name if named is None else named[0]


def _target_of(version: "ModelVersion") -> Target:
    named = split_name(version.name)
    assert named is not None
    return named[1]


def show(catalog: Catalog, version: "ModelVersion") -> VersionAnswer:
    """All that is known of a version."""
    client, run = catalog.client, catalog.client.get_run(str(version.run_id))
    model = catalog.registered_model(version.name)
    name = _model_of(version.name)
    summary = answer(name, source_of(catalog, name), model, version)
    metrics = dict(run.data.metrics)
    if MODEL_ID_TAG in version.tags:
        metrics |= latest(client.get_logged_model(version.tags[MODEL_ID_TAG]))
    return VersionAnswer(
        name=version.name,
        version=int(version.version),
        summary=summary,
        aliases=summary.aliases,
        tags=dict(version.tags),
        # JSON has no word for others, which somebody else may have logged.
        metrics={metric: value for metric, value in sorted(metrics.items()) if math.isfinite(value)},
        settings=dict(sorted(run.data.params.items())),
        files=_sizes(catalog, run),
        operators=_operators(catalog, version),
        run_url=catalog.url(run),
        command=_command(catalog, run),
        links={tag: value for tag, value in run.data.tags.items() if tag.startswith("prefect.")},
    )


def diff(catalog: Catalog, one: "ModelVersion", other: "ModelVersion") -> VersionsDiff:
    """Two versions beside each other."""
    first, second = show(catalog, one), show(catalog, other)
    digests = [_manifest(catalog, catalog.client.get_run(str(each.run_id))) for each in (one, other)]
    changed = {name for name in digests[0].keys() | digests[1].keys() if digests[0].get(name) != digests[1].get(name)}
    sizes = ({name: size for name, size in each.files.items() if name in changed} for each in (first, second))
    return VersionsDiff(
        name=one.name,
        versions=(first.version, second.version),
        metrics=_unlike(first.metrics, second.metrics),
        operators={name: (a or 0, b or 0) for name, (a, b) in _unlike(first.operators, second.operators).items()},
        files=_beside(*sizes),
        settings=_unlike(first.settings, second.settings),
        pictures=_beside(*(_pictures(catalog, str(each.run_id)) for each in (one, other))),
    )


def fetch(catalog: Catalog, version: "ModelVersion", folder: Path) -> Fetched:
    """A converted model's files in a folder, which appears whole or not at all.

    Raises:
        RegistryDamaged: the registry's files are not those that were filed.
        OutputError: a folder that holds something else, or cannot be written.
    """
    target = _target_of(version)
    with fetched(catalog, version.name, int(version.version)) as filed:
        origins = target.origins(filed.conversion.converted, filed.conversion.onnx)
        said = {name: artifact.files[name] for name, artifact in origins.items()}
        names = sorted(name for name in filed.digests if name in target.kept)
        missing = sorted({*target.files, *said} - {*names})
        wrong = [name for name in names if said.get(name) != filed.digests[name]]
        if missing or wrong:
            raise RegistryDamaged(
                f"{version.name} version {version.version}: {(missing + wrong)[0]} in the registry is not the file "
                "that was filed; fetch another version, or convert the model again"
            )
        with replaced_folder(folder, target.kept | {MANIFEST_FILE}) as staging:
            # Of MLflow's own files no digest is on record.
            for name in names:
                shutil.move(filed.folder / name, staging / name)
            kept = {name: filed.digests[name] for name in names}
            (staging / MANIFEST_FILE).write_text(
                json.dumps({"model": version.name, "version": int(version.version), "files": kept}, indent=2) + "\n",
                encoding="utf-8",
            )
    return Fetched(name=version.name, version=int(version.version), folder=str(folder), files=kept)


def history(catalog: Catalog, name: str) -> list[Event]:
    """All that happened to a model, the oldest first.

    Raises:
        ConfigError: there is no such model.
    """
    source, converted = _model_of(name), _names(name)
    events = [event for each in (source, *converted) for event in _versions_of(catalog, source, each)]
    if not events:
        raise ConfigError(f"{source}: no such model in {catalog.tracking_uri}; `roastery models` lists all")
    for each in converted:
        events += _measured_again(catalog, each)
    for each in (source, *converted):
        model = catalog.registered_model(each)
        events += (
            []
            if model is None
            else [
                Event(at=move.at, kind="alias", version=move.to_version, said=move.reason, by=move.by, move=move)
                for move in moves(model)
            ]
        )
    return sorted(events, key=lambda event: event.at)


def _versions_of(catalog: Catalog, model: str, name: str) -> Iterator[Event]:
    if catalog.registered_model(name) is None:
        return
    for version in catalog.versions_of(name):
        tags, at = version.tags, moment(version.creation_timestamp)
        if name == model:
            if CHECKPOINT_TAG in tags:
                said = f"{tags.get('family', 'unknown')}, weights {tags.get('source_sha256', '?')[:12]}"
                yield Event(at=at, kind="registered", version=int(version.version), said=said)
            continue
        figures = ", ".join(
            f"{tag.removeprefix('ap_delta_')} {value}"
            for tag, value in sorted(tags.items())
            if tag.startswith("ap_delta_")
        )
        said = f"{tags.get('verdict', 'unknown')}, judged by {tags.get('judged_by', 'nobody')}; differences: {figures}"
        yield Event(at=at, kind="converted", version=int(version.version), said=said)


def _measured_again(catalog: Catalog, name: str) -> Iterator[Event]:
    experiment = catalog.client.get_experiment_by_name(catalog.experiment)
    if experiment is None:
        return
    wanted = f"tags.`{REEVALUATES_TAG}` = '{name_mark(name)}'"
    for run in catalog.client.search_runs([experiment.experiment_id], wanted, max_results=_SHORT):
        version = run.data.tags.get("reevaluation_of", "").rpartition(" ")[2]
        passed = run.data.metrics.get("passed") == 1.0
        figures = ", ".join(
            f"{metric.removeprefix('ap_delta_')} {value:.4f}"
            for metric, value in sorted(run.data.metrics.items())
            if metric.startswith("ap_delta_")
        )
        yield Event(
            at=moment(run.info.start_time),
            kind="measured again",
            version=int(version) if version.isdigit() else None,
            said=f"{'passed' if passed else 'failed'}; differences: {figures}",
        )


def _text(catalog: Catalog, run: "Run", name: str) -> str | None:
    """A small file of a run; None where it has none."""
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory(prefix="roastery-") as folder:
        try:
            return Path(catalog.client.download_artifacts(run.info.run_id, name, folder)).read_text(encoding="utf-8")
        except (MlflowException, OSError, UnicodeDecodeError):
            # Of an older Roastery, or gone: the rest is told all the same.
            return None


def _manifest(catalog: Catalog, run: "Run") -> dict[str, dict[str, object]]:
    try:
        said = json.loads(_text(catalog, run, MANIFEST_FILE) or "{}")
        files = said.get("files", {})
        return {name: each for name, each in files.items() if isinstance(each, dict)}
    except (ValueError, AttributeError, RecursionError):
        return {}


def _sizes(catalog: Catalog, run: "Run") -> dict[str, int | None]:
    sizes: dict[str, int | None] = {}
    for name, each in _manifest(catalog, run).items():
        size = each.get("bytes")
        sizes[name] = size if isinstance(size, int) else None
    return sizes


def _command(catalog: Catalog, run: "Run") -> str:
    lines = (_text(catalog, run, COMMAND_FILE) or "").splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


def _operators(catalog: Catalog, version: "ModelVersion") -> dict[str, int]:
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    target = _target_of(version)
    place = catalog.client.get_model_version_download_uri(version.name, version.version)
    with tempfile.TemporaryDirectory(prefix="roastery-") as folder:
        try:
            for name in target.graph:
                mlflow.artifacts.download_artifacts(
                    f"{place}/{name}", dst_path=folder, tracking_uri=catalog.tracking_uri
                )
            return dict(sorted(target.describe(Path(folder)).operators.items()))
        except (MlflowException, OSError, ModelFileError):
            # Gone, or damaged: the rest is told all the same.
            return {}


def _pictures(catalog: Catalog, run_id: str) -> dict[str, str]:
    run = catalog.client.get_run(run_id)
    found = catalog.client.list_artifacts(run_id, REPORT_FOLDER)
    return {
        Path(item.path).name: f"{run.info.artifact_uri}/{item.path}"
        for item in found
        if item.path.endswith(PICTURE_SUFFIXES)
    }


def _unlike(one: Mapping[str, Value], other: Mapping[str, Value]) -> dict[str, tuple[Value | None, Value | None]]:
    return {name: pair for name, pair in _beside(one, other).items() if pair[0] != pair[1]}


def _beside(one: Mapping[str, Value], other: Mapping[str, Value]) -> dict[str, tuple[Value | None, Value | None]]:
    return {name: (one.get(name), other.get(name)) for name in sorted(one.keys() | other.keys())}
