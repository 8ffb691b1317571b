"""An evaluation cut into shards: each cached and tried again apart, and together exactly the figures of one."""

from pathlib import Path
from typing import Any

import pytest
from outcomes import outcome_of

from roastery.errors import RuntimeFailed
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig

pytestmark = pytest.mark.xdist_group("flows")

Converted = tuple[PipelineConfig, Any, list[str]]


# Of four images: shards of unequal size, of one image each, and with five one that is empty.
@pytest.mark.parametrize("shards", [1, 3, 4, 5])
def test_so_many_shards_give_exactly_the_figures_of_two(
    run_model: Any, converted: Converted, model: ModelSpec, few: DatasetSpec, watched: Any, shards: int, tmp_path: Path
) -> None:
    before = outcome_of(converted[1]).conversion
    assert before is not None
    # In a registry of its own: it would be one more version.
    cut = converted[0].model_copy(update={"shards": shards, "tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"})
    after = outcome_of(run_model(model, few, cut)).conversion
    assert after is not None
    # Nothing before, and each target as often as there are shards.
    assert watched.asked == ["predict"] * 2 * shards + ["evaluate", "report"]
    assert after.evaluation.images == before.evaluation.images == 4
    assert after.evaluation.metrics == before.evaluation.metrics
    assert after.evaluation.verdicts == before.evaluation.verdicts
    detections = [
        (Path(each.evaluated.uri) / f"detections-{target}.json").read_bytes()
        for target in ("original", "torch")
        for each in (before, after)
    ]
    assert detections[0] == detections[1]
    assert detections[2] == detections[3]


def test_a_shard_that_is_lost_is_done_again_alone(
    run_model: Any, converted: Converted, model: ModelSpec, few: DatasetSpec, watched: Any
) -> None:
    (_shards_of(converted)[0] / "manifest.json").unlink()
    assert outcome_of(run_model(model, few, converted[0])).passed
    assert watched.asked == ["predict"]


def _shards_of(converted: Converted) -> list[Path]:
    """The four shards of the first conversion: others may have been made since."""
    made = sorted(Path(converted[0].store).glob("predict/*"), key=lambda path: path.stat().st_ctime)
    return made[:4]


def test_a_shard_that_fails_is_tried_again_alone(
    run_model: Any, converted: Converted, model: ModelSpec, few: DatasetSpec, watched: Any
) -> None:
    watched.faults = {"predict": [RuntimeFailed("it passes")]}
    (_shards_of(converted)[1] / "manifest.json").unlink()
    assert outcome_of(run_model(model, few, converted[0])).passed
    assert watched.asked == ["predict", "predict"], "once, and once more"
