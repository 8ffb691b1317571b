"""What may be tried again, and how long it waits."""

from typing import Any, cast

import pytest
from prefect.cache_policies import NO_CACHE
from prefect.states import Failed

from roastery.errors import (
    CheckpointError,
    GateFailed,
    OperatorError,
    RegistryUnavailable,
    RuntimeFailed,
    StoreRefused,
    StoreUnavailable,
    UserError,
    WeightsUnavailable,
)
from roastery.spec import PipelineConfig, RetrySpec, Timeouts
from tasks.convert import convert
from tasks.evaluate import evaluate
from tasks.export_onnx import export_onnx
from tasks.fetch_weights import fetch_weights
from tasks.log import log
from tasks.policy import configured, may_pass
from tasks.predict import predict
from tasks.report import report
from tasks.resolve import resolve
from tasks.sample import sample
from tasks.trace import trace

TASKS = [fetch_weights, resolve, sample, trace, export_onnx, convert, predict, evaluate, report, log]


@pytest.mark.parametrize(
    "kind", [RuntimeFailed, StoreUnavailable, StoreRefused, RegistryUnavailable, WeightsUnavailable, TimeoutError]
)
def test_what_may_pass_is_tried_again(kind: type[Exception]) -> None:
    assert may_pass(trace, cast(Any, None), Failed(data=kind("busy")))


@pytest.mark.parametrize("kind", [UserError, CheckpointError, GateFailed, OperatorError, ZeroDivisionError])
def test_what_a_user_or_a_developer_must_mend_is_not(kind: type[Exception]) -> None:
    assert not may_pass(trace, cast(Any, None), Failed(data=kind("wrong")))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_task_retries_with_a_doubling_delay_and_jitter_and_remembers_nothing(task: Any) -> None:
    assert task.retries == 3
    assert task.retry_delay_seconds == [2.0, 4.0, 8.0]
    assert task.retry_jitter_factor == 0.5
    assert task.retry_condition_fn is may_pass
    assert task.persist_result is False, "the store remembers"
    assert task.cache_policy == NO_CACHE
    assert task.tags == set(), "for a task with tags Prefect asks its database for a slot"


def test_a_pipeline_sets_retries_and_timeout() -> None:
    pipeline = PipelineConfig(retries=RetrySpec(times=2, delay=0.5, jitter=0.0), timeouts=Timeouts(trace=60))
    task = configured(trace, "trace", pipeline)
    assert (task.retries, task.retry_delay_seconds, task.retry_jitter_factor) == (2, [0.5, 1.0], 0.0)
    assert task.timeout_seconds == 90
    assert configured(predict, "predict", pipeline, in_main_thread=False).timeout_seconds is None
