"""`roastery gc`: what of a store nobody needs, shown, and removed when that is said."""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.ages import parse_age
from cli.environment import HOME, prepare_environment
from roastery.registry.catalog import Catalog
from roastery.retention import Kept, Stored, collectable, remove_all
from roastery.spec import PipelineConfig, load_pipeline, over_pipeline
from roastery.store import Store
from roastery.uses import RunningUses, collecting, still_collecting

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

PIPELINE = Path("configs/pipeline.yaml")


@dataclass
class Found:
    """What a look through a store and its registries found."""

    store: Store
    registries: Sequence[str]
    artifacts: list[Stored] = field(default_factory=list)
    kept: Kept = field(default_factory=Kept)
    versions: int = 0


def gc(
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Keep what is younger: a number with m, h, d or w, or 0.")
    ] = "1d",
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    store: Annotated[str | None, typer.Option(help="Folder or URL of the artifacts, over pipeline.yaml's.")] = None,
    tracking_uri: Annotated[
        list[str] | None,
        typer.Option(
            help="MLflow's tracking URI, over pipeline.yaml's; given more than once where several registries share "
            "the store.",
            show_default=False,
        ),
    ] = None,
    pipeline: Annotated[Path, typer.Option(help="pipeline.yaml.")] = PIPELINE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; asks nothing.")] = False,
) -> None:
    """Show, then remove, artifacts that no registered version and no running flow needs.

    On a terminal it asks before it removes. Elsewhere, without --yes, it only shows. Where a registered version's
    conversion cannot be read, nothing is removed.

    Every registry whose models lie in the store must be named: what another one needs is not known otherwise.

    Examples:

    roastery gc

    roastery gc --older-than 7d --yes

    roastery gc --store s3://detectors/roastery --tracking-uri http://127.0.0.1:5000 --tracking-uri http://10.0.0.7:5000
    """
    seconds = parse_age("--older-than", older_than).total_seconds()
    configs = _configured(pipeline, store, tracking_uri or [])
    prepare_environment(HOME)
    _load_secrets(configs[0])
    asks = not (yes or as_json) and sys.stdin.isatty() and sys.stdout.isatty()
    found = Found(Store(configs[0].store), [Catalog(each.tracking_uri).tracking_uri for each in configs])
    console, progress = _consoles()
    with ExitStack() as stack:
        status = stack.enter_context(progress.status("looking at what runs"))
        lease = stack.enter_context(collecting(found.store)) if yes or asks else None
        # In this order: what a run files before it ends is in the registry that is read after it was looked for.
        uses = RunningUses(found.store)
        _look(found, configs, uses, time.time() - seconds, status)
        status.stop()
        if not as_json:
            _show(console, found, older_than)
        if lease is None or not found.artifacts or (asks and not typer.confirm("Remove them?")):
            _end_without(console, found, as_json)
            return
        status.start()
        uses.forget_dead()
        removed: list[Stored] = []
        for number, (each, gone) in enumerate(
            remove_all(found.store, found.artifacts, uses, lambda: still_collecting(lease, found.store)), 1
        ):
            status.update(f"removing {number} of {len(found.artifacts)}")
            removed += [each] if gone else []
    _end(console, found, removed, as_json)


def _look(found: Found, configs: Sequence[PipelineConfig], uses: RunningUses, before: float, status: "Status") -> None:
    """Look through the registries, and then through the store."""
    needed: set[str] = set()
    for config in configs:
        catalog = Catalog(config.tracking_uri, config.experiment)
        status.update(f"listing the versions in {catalog.tracking_uri}")
        versions = catalog.versions()
        for number, version in enumerate(versions, 1):
            status.update(f"reading conversion {number} of {len(versions)} in {catalog.tracking_uri}")
            needed |= catalog.conversion(version).needed
        found.versions += len(versions)
    for artifact in collectable(found.store, needed | uses.names(), before, found.kept):
        found.artifacts.append(artifact)
        status.update(f"looking through {found.store.url}: {len(found.artifacts)} that nobody needs")


def _show(console: "Console", found: Found, older_than: str) -> None:
    """Print what is not needed, by stage."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console.print(f"store:  {found.store.url}", markup=False, soft_wrap=True)
    for registry in found.registries:
        console.print(f"MLflow: {registry}", markup=False, soft_wrap=True)
    console.print(
        f"kept: {found.kept.needed} artifacts that {found.versions} registered versions or a running flow need, and "
        f"{found.kept.young} younger than {older_than}",
        markup=False,
        soft_wrap=True,
    )
    if not found.artifacts:
        console.print("nothing to remove", markup=False)
        return
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in ("stage", "artifacts", "MB", "oldest"):
        table.add_column(heading, justify="left" if heading == "stage" else "right", no_wrap=True)
    for row in _by_stage(found.artifacts):
        table.add_row(row.stage, str(row.artifacts), _megabytes(row.bytes), row.oldest[:10])
    console.print(table)
    console.print(f"{len(found.artifacts)} artifacts, {_megabytes(_bytes(found.artifacts))} MB", markup=False)


def _end_without(console: "Console", found: Found, as_json: bool) -> None:
    if as_json:
        _print_json(found, [])
    elif found.artifacts:
        console.print("nothing was removed; `roastery gc --yes` removes them", markup=False)


def _end(console: "Console", found: Found, removed: Sequence[Stored], as_json: bool) -> None:
    if as_json:
        _print_json(found, removed)
        return
    console.print(f"removed {len(removed)} artifacts, {_megabytes(_bytes(removed))} MB", markup=False)
    if len(removed) < len(found.artifacts):
        spared = len(found.artifacts) - len(removed)
        console.print(f"kept {spared} that a run has come to use, or that are gone already", markup=False)


@dataclass(frozen=True)
class _Row:
    stage: str
    artifacts: int
    bytes: int
    oldest: str


def _by_stage(artifacts: Iterable[Stored]) -> list[_Row]:
    stages: dict[str, list[Stored]] = {}
    for each in artifacts:
        stages.setdefault(each.stage if each.whole else f"{each.stage} (half-built)", []).append(each)
    return [
        _Row(stage, len(group), _bytes(group), _date(min(each.modified for each in group)))
        for stage, group in sorted(stages.items())
    ]


def _print_json(found: Found, removed: Sequence[Stored]) -> None:
    content = {
        "store": found.store.url,
        "registries": list(found.registries),
        "versions": found.versions,
        "kept": {"needed": found.kept.needed, "young": found.kept.young},
        "collectable": [
            {
                "artifact": each.name,
                "bytes": each.bytes,
                "modified": _date(each.modified),
                "half_built": not each.whole,
            }
            for each in found.artifacts
        ],
        "removed": [each.name for each in removed],
    }
    typer.echo(json.dumps(content, indent=2))


def _bytes(artifacts: Iterable[Stored]) -> int:
    return sum(each.bytes for each in artifacts)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}"


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _configured(path: Path, store: str | None, registries: Sequence[str]) -> list[PipelineConfig]:
    """The configuration, once for each registry."""
    config = load_pipeline(path)
    if store is not None:
        config = over_pipeline(config, {"store": store})
    return [over_pipeline(config, {"tracking_uri": each}) for each in registries] or [config]


def _load_secrets(config: PipelineConfig) -> None:
    if config.secrets:
        from flows.secrets import load_secrets

        load_secrets(config)


def _consoles() -> tuple["Console", "Console"]:
    """For what is said, and for how far it is."""
    from rich.console import Console

    return Console(), Console(stderr=True)
