"""The flow of many models: each a run of its own, and one model's failure nobody else's."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.asked import (
    AS_REGISTERED,
    ApPoints,
    Folder,
    RuntimesChoice,
    SampleImages,
    TargetsChoice,
    asked_project,
    run_name,
)
from flows.convert_model import convert_model
from flows.fleet import Where, Words, dispatching, run_fleet
from flows.unchanged import unchanged
from roastery.registry.asked_sources import with_registered
from roastery.registry.catalog import Catalog
from roastery.results import FleetSummary
from roastery.selection import Only, Selection, select

MODEL_DEPLOYMENT = "convert_model/convert-model"


@flow(
    name="convert_fleet",
    flow_run_name=run_name("convert {only} models"),
    persist_result=True,
    result_serializer="json",
    validate_parameters=True,
)
def convert_fleet(
    models: Words = [],  # noqa: B006  (a form's default is a value)
    tags: Words = [],  # noqa: B006
    only: Only = "new or changed",
    runtimes: RuntimesChoice = AS_REGISTERED,
    max_ap_delta: ApPoints | None = None,
    sample_images: SampleImages | None = None,
    targets: TargetsChoice = [],  # noqa: B006
    where: Where = "auto",
    configs: Folder = "",
) -> State[Any]:
    """Convert many registered models, each by a run of its own, and show one table of how they ended.

    Which models, is decided before any is run. One whose conversion is whole and filed already is in the table as
    unchanged, and is not run. One that fails, crashes or takes too long does not touch the others. Called from Python
    with `return_state=True`, the state's data is a FleetSummary; the state is failed, and names them, where models were
    not converted or did not pass their gates.

    Args:
        models: Names of registered models, or globs such as mask_*; or sources in the registry, as
            models:/NAME/VERSION, models:/NAME@ALIAS, or models:/mask_* for the newest of each. None: all names.
        tags: Models that carry all of these tags.
        only: `new` have no converted version in the registry; `changed` have one of other weights, config or export.
        runtimes: Which runtimes judge the Caffe2 models. `auto`: genuine Caffe2 too, where it is installed.
        max_ap_delta: How many AP points (0..100) a converted model may differ by. Empty: as its gate says.
        sample_images: On how many images the outputs are compared one by one. Empty: as pipeline.yaml says.
        targets: What they are converted to. None: what a model's own config or pipeline.yaml says.
        where: By the workers of the deployment convert_model/convert-model, or by processes of this machine. `auto`: by
            workers where there are any.
        configs: The folder of models/, datasets/ and pipeline.yaml, on the machines that run this. Empty: what
            ROASTERY_CONFIGS says there, else configs.
    """
    project = asked_project(configs, runtimes, max_ap_delta, sample_images, targets)
    catalog = Catalog(project.pipeline.tracking_uri, project.pipeline.experiment)
    project, names = with_registered(project, models, lambda: catalog)
    selection = Selection(names=names, tags=tuple(tags), only=only)
    chosen = select(project.models, selection, catalog.converted, project.pipeline.targets)
    if not chosen:
        return Completed(message="nothing to convert", data=FleetSummary(models=()))
    parameters = {
        "runtimes": runtimes,
        "max_ap_delta": max_ap_delta,
        "sample_images": sample_images,
        "targets": targets,
        "configs": configs,
    }
    return run_fleet(
        chosen,
        lambda: dispatching(convert_model, MODEL_DEPLOYMENT, where, project, parameters),
        lambda model: unchanged(model, project, catalog),
        shown="fleet",
    )
