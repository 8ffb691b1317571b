"""What may be tried again, how long it waits, and when Prefect's cache may answer."""

from pathlib import Path
from typing import Any, cast

import pytest
from prefect.states import Failed

from roastery.errors import (
    CheckpointError,
    GateFailed,
    OperatorError,
    RegistryUnavailable,
    RuntimeFailed,
    StoreUnavailable,
    UserError,
)
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig, RetrySpec, Timeouts
from roastery.stages.resolve import ResolveRequest
from tasks.convert_caffe2 import convert_caffe2
from tasks.evaluate import evaluate
from tasks.export_onnx import export_onnx
from tasks.log import log
from tasks.policy import configured, find_artifact, known_key, may_pass, remembered, stage_cache_key
from tasks.predict import predict
from tasks.resolve import resolve
from tasks.sample import sample
from tasks.trace import trace

TASKS = [resolve, sample, trace, export_onnx, convert_caffe2, predict, evaluate, log]


@pytest.mark.parametrize("kind", [RuntimeFailed, StoreUnavailable, RegistryUnavailable, TimeoutError])
def test_what_may_pass_is_tried_again(kind: type[Exception]) -> None:
    assert may_pass(trace, cast(Any, None), Failed(data=kind("busy")))


@pytest.mark.parametrize("kind", [UserError, CheckpointError, GateFailed, OperatorError, ZeroDivisionError])
def test_what_a_user_or_a_developer_must_mend_is_not(kind: type[Exception]) -> None:
    assert not may_pass(trace, cast(Any, None), Failed(data=kind("wrong")))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_task_retries_with_a_doubling_delay_and_jitter_and_leaves_json(task: Any) -> None:
    assert task.retries == 3
    assert task.retry_delay_seconds == [2.0, 4.0, 8.0]
    assert task.retry_jitter_factor == 0.5
    assert task.retry_condition_fn is may_pass
    assert task.persist_result is True
    assert task.result_serializer == "json"
    assert task.tags == {"roastery"}


def test_a_pipeline_sets_retries_and_timeout() -> None:
    pipeline = PipelineConfig(retries=RetrySpec(times=2, delay=0.5, jitter=0.0), timeouts=Timeouts(trace=60))
    task = configured(trace, "trace", pipeline)
    assert (task.retries, task.retry_delay_seconds, task.retry_jitter_factor) == (2, [0.5, 1.0], 0.0)
    assert task.timeout_seconds == 90
    assert configured(predict, "predict", pipeline, in_main_thread=False).timeout_seconds is None


@pytest.fixture
def request_(shapes: Path, box_model: Path) -> ResolveRequest:
    return ResolveRequest(
        model="m",
        spec=ModelSpec(
            name="m", config=box_model / "config.yaml", weights=str(box_model / "model_final.pkl"), dataset="shapes"
        ),
        dataset=DatasetSpec(
            name="shapes", images=shapes / "val" / "images", annotations=shapes / "val" / "instances.json"
        ),
    )


def test_the_cache_key_is_the_stages_own_in_one_store(request_: ResolveRequest, tmp_path: Path) -> None:
    def key(request: ResolveRequest, store: str) -> str | None:
        parameters = {"request": request, "pipeline": PipelineConfig(store=str(tmp_path / store))}
        return stage_cache_key(cast(Any, None), parameters)

    here = key(request_, "a")
    assert here is not None
    assert request_.key() in here
    assert key(request_.model_copy(update={"model": "renamed"}), "a") == here
    assert key(request_, "b") != here
    other = request_.spec.model_copy(update={"overrides": ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.1")})
    assert key(request_.model_copy(update={"spec": other}), "a") != here


def test_an_input_that_is_not_there_has_no_key_and_the_task_itself_says_so(request_: ResolveRequest) -> None:
    lost = request_.model_copy(update={"spec": request_.spec.model_copy(update={"weights": "/nowhere"})})
    assert known_key(lost) is None
    assert find_artifact(lost, PipelineConfig(store="/nowhere")) is None


def test_prefects_cache_answers_only_for_what_the_store_has(request_: ResolveRequest, tmp_path: Path) -> None:
    pipeline = PipelineConfig(store=str(tmp_path / "store"))
    assert remembered(resolve, find_artifact(request_, pipeline)).refresh_cache is True
    resolve.fn(request_, pipeline)
    assert remembered(resolve, find_artifact(request_, pipeline)).refresh_cache is False
