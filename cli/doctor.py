"""`roastery doctor`: what is there, what is wrong, and the way out."""

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from cli import FAILED
from cli.environment import HOME, name_environment
from cli.plain import plain
from cli.registry_options import PIPELINE, JsonOption, PipelineOption, TrackingOption
from roastery.address import masked
from roastery.doctor.artifact_store import look_at_store
from roastery.doctor.detectron2 import look_at_detectron2, look_at_torchvision
from roastery.doctor.finding import Check, Finding, bounded
from roastery.doctor.installation import (
    EXTRAS,
    look_at_extra,
    look_at_packages,
    look_at_python,
    look_at_roastery,
    look_at_torch,
)
from roastery.doctor.programs import look_at_caffe2, look_at_graphviz
from roastery.doctor.resources import look_at_disk, look_at_machine
from roastery.errors import ConfigError
from roastery.filesystem import is_local, open_filesystem
from roastery.home import cache_folder
from roastery.registry.health import look_at_registry
from roastery.spec import PLACE_VARIABLES, PipelineConfig, load_pipeline, over_pipeline

_COLOURS = {"ok": "green", "missing": "dim", "warning": "yellow", "wrong": "red"}
_IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "PGCONNECT_TIMEOUT": "10",
}
"""Whoever asks how things are is not to wait for what may come yet."""
_SERVER_SECONDS = 30.0
_DISK_SECONDS = 10.0


def doctor(
    pipeline: PipelineOption = None,
    store: Annotated[str | None, typer.Option(help="Folder or URL of the artifacts, over pipeline.yaml's.")] = None,
    tracking_uri: TrackingOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at all that a conversion needs: what is there, what is wrong, and the way out.

    Python, PyTorch, the packages, torchvision and detectron2 where they are installed, genuine Caffe2, graphviz, the
    Prefect API, the MLflow store, the artifact store, disks, memory and cores. Nothing is made or changed: of the
    artifact store a small file is written, read and removed.

    Ends with 0 where nothing is wrong, 1 where something is. What is missing and not needed is not wrong.

    Examples:

    roastery doctor

    roastery doctor --pipeline /srv/roastery/configs/pipeline.yaml

    roastery doctor --store s3://detectors/roastery --tracking-uri http://127.0.0.1:5000

    roastery doctor --json
    """
    over = {key: value for key, value in (("store", store), ("tracking_uri", tracking_uri)) if value}
    found = []
    with _environment(), _progress() as tell:
        for check in _checks(pipeline, over):
            tell(f"looking at {check.name}")
            found.append(bounded(check))
    if as_json:
        _print_json(found)
    else:
        _print_table(found)
    if any(each.state == "wrong" for each in found):
        raise typer.Exit(FAILED)


def _checks(pipeline: Path | None, over: Mapping[str, str]) -> Iterator[Check]:
    """In the order in which one thing needs another."""
    yield Check("Python", look_at_python)
    yield Check("Roastery", look_at_roastery)
    yield Check("PyTorch", look_at_torch, 90.0)
    yield Check("packages", look_at_packages)
    for extra in EXTRAS:
        yield Check(f"extra {extra}", partial(look_at_extra, extra))
    yield Check("torchvision", look_at_torchvision, 90.0)
    yield Check("detectron2", look_at_detectron2, 90.0)
    yield Check("genuine Caffe2", look_at_caffe2, 90.0)
    yield Check("graphviz", look_at_graphviz)
    config, configuration = _configuration(pipeline, over)
    yield Check("configuration", lambda: configuration)
    yield Check("Prefect API", _look_at_prefect, _SERVER_SECONDS)
    if config is not None:
        yield from _places(config)
    temporary = "disk of temporary files"
    yield Check(temporary, partial(look_at_disk, temporary, Path(tempfile.gettempdir())), _DISK_SECONDS)


def _places(config: PipelineConfig) -> Iterator[Check]:
    if config.secrets:
        yield Check("secrets", partial(_look_at_secrets, config), _SERVER_SECONDS)
    tracking_uri, store = config.tracking_uri, config.store
    yield Check("MLflow store", partial(look_at_registry, tracking_uri), _SERVER_SECONDS, masked(tracking_uri))
    yield Check("artifact store", partial(look_at_store, store), _SERVER_SECONDS, masked(store))
    yield Check("disk of artifacts", partial(_look_at_artifacts_disk, store), _DISK_SECONDS)
    yield Check("memory and cores", partial(look_at_machine, config))


def _configuration(pipeline: Path | None, over: Mapping[str, str]) -> tuple[PipelineConfig | None, Finding]:
    name = "configuration"
    try:
        if pipeline is not None or PIPELINE.exists():
            config, said = load_pipeline(pipeline or PIPELINE), str(pipeline or PIPELINE)
        else:
            places = {key: os.environ[each] for key, each in PLACE_VARIABLES.items() if os.environ.get(each)}
            config = over_pipeline(PipelineConfig(), places)
            named = f", and the environment's {' and '.join(sorted(places))}" if places else ""
            said = f"no {PIPELINE} here: the defaults{named}"
        return over_pipeline(config, over), Finding(name, "ok", said)
    except ConfigError as error:
        what, _, way_out = str(error).rpartition("; ")
        way_out = way_out if what else "correct it"
        return None, Finding(name, "wrong", what or str(error), f"{way_out}; what it names was not looked at")


def _look_at_prefect() -> Finding:
    if find_spec("prefect") is None:
        way_out = "pip install -c constraints.txt -e '.[pipeline]'"
        return Finding("Prefect API", "missing", "Prefect is not installed", way_out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from flows.api_health import look_at_prefect

        return look_at_prefect()


def _look_at_secrets(config: PipelineConfig) -> Finding:
    """Whether what libraries are to read from the environment is there; it is put there, for the checks that follow."""
    unset = sorted(set(config.secrets) - os.environ.keys())
    if not unset:
        return Finding("secrets", "ok", f"{len(config.secrets)} in the environment")
    from prefect.settings import get_current_settings

    if get_current_settings().api.url is None:
        said = f"from Prefect's blocks are to come {', '.join(unset)}, and no Prefect API is named"
        return Finding("secrets", "warning", said, "set PREFECT_API_URL, or the variables themselves")
    from flows.secrets import load_secrets

    load_secrets(config)
    return Finding("secrets", "ok", f"{', '.join(unset)} from Prefect's blocks")


def _look_at_artifacts_disk(store: str) -> Finding:
    """The disk that artifacts are made on: beside a local store, in the cache of a remote one."""
    filesystem, root = open_filesystem(store)
    return look_at_disk("disk of artifacts", Path(root) if is_local(filesystem) else cache_folder())


@contextmanager
def _environment() -> Iterator[None]:
    """What a command's Prefect and MLflow find, without the folder that they would make and without their patience."""
    for name, value in _IMPATIENT.items():
        os.environ.setdefault(name, value)
    with tempfile.TemporaryDirectory() as empty:
        name_environment(HOME if (HOME / "prefect").is_dir() else Path(empty))
        yield


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Says what is looked at, on a terminal."""
    from rich.console import Console

    with Console(stderr=True).status("looking") as status:
        yield status.update


def _print_json(found: Sequence[Finding]) -> None:
    typer.echo(json.dumps([asdict(each) for each in found], indent=2))


def _print_table(found: Sequence[Finding]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from cli.tables import console

    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in ("thing", "state"):
        table.add_column(heading, no_wrap=True)
    table.add_column("found", overflow="fold")
    for each in found:
        state = f"[{_COLOURS[each.state]}]{each.state}[/]"
        way_out = f"\n[bold]{plain(each.way_out)}[/bold]" if each.way_out else ""
        table.add_row(plain(each.name), state, plain(each.found) + way_out)
    out = console()
    out.print(table)
    wrong, warned = (sum(each.state == state for each in found) for state in ("wrong", "warning"))
    warnings_told = f", {warned} {'warning' if warned == 1 else 'warnings'}" if warned else ""
    out.print(f"{f'{wrong} wrong' if wrong else 'nothing is wrong'}{warnings_told}", highlight=False)
