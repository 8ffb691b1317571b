"""Many runs at once, on a dispatcher that is told how each of them ends."""

import tracemalloc
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.fan_out import ATTEMPTS, Ended, fan_out
from roastery.results import Figure, ModelSummary, Registered, TargetSummary

ENDINGS = st.sampled_from(["passed", "failed", "crashed", "timed out"])


class Told:
    """Runs that end as `endings` says of each model: one word an attempt, the last one for all further ones."""

    def __init__(self, endings: dict[str, list[str]], at_once: int, order: int = 0) -> None:
        self.at_once = at_once
        self.started: list[tuple[str, int]] = []
        self.stopped: list[str] = []
        self.most = 0
        self._endings, self._order = endings, order
        self._running: dict[UUID, tuple[str, int]] = {}

    def start(self, model: str, attempt: int) -> UUID:
        run = uuid4()
        self._running[run] = (model, attempt)
        self.started.append((model, attempt))
        self.most = max(self.most, len(self._running))
        return run

    def ended(self) -> Sequence[Ended]:
        run = list(self._running)[self._order % len(self._running)]
        model, attempt = self._running.pop(run)
        words = self._endings[model]
        word = words[min(attempt, len(words)) - 1]
        if word in ("crashed", "timed out"):
            return [Ended(run, None, word, f"it {word}", 1.0)]  # type: ignore[arg-type]
        return [Ended(run, ModelSummary(model=model, ended=word))]  # type: ignore[arg-type]

    def stop(self, run: UUID) -> None:
        self.stopped.append(self._running.pop(run)[0])


@given(st.lists(st.lists(ENDINGS, min_size=1, max_size=3), max_size=12), st.integers(1, 5), st.integers(0, 4))
def test_every_model_ends_once_in_its_place_and_never_more_at_once_than_are_taken(
    endings: list[list[str]], at_once: int, order: int
) -> None:
    names = [f"m{number}" for number in range(len(endings))]
    told = Told(dict(zip(names, endings, strict=True)), at_once, order)
    ended = list(fan_out(names, told))
    assert sorted(place for place, _ in ended) == list(range(len(names)))
    assert all(summary.model == names[place] for place, summary in ended)
    assert told.most <= at_once
    assert told.stopped == []
    for place, summary in ended:
        words = endings[place]
        attempts = [attempt for model, attempt in told.started if model == names[place]]
        if words[0] != "crashed":
            # What said how it ended, or took too long, is not started again.
            assert attempts == [1]
            assert summary.ended == words[0]
        else:
            assert attempts == list(range(1, ATTEMPTS + 1))
            assert summary.ended == words[min(ATTEMPTS, len(words)) - 1]


def test_a_run_that_is_lost_for_good_says_why() -> None:
    (only,) = fan_out(["m"], Told({"m": ["crashed"]}, 1))
    failure = only[1].failure
    assert failure is not None
    assert (failure.stage, failure.reason, failure.mistake, only[1].seconds) == ("run", "it crashed", False, 1.0)


def test_what_still_runs_is_stopped_when_the_fleet_ends() -> None:
    told = Told({"a": ["passed"], "b": ["passed"], "c": ["passed"]}, 2)
    running = fan_out(["a", "b", "c"], told)
    assert next(running)[1].model == "a"
    running.close()
    assert told.stopped == ["b"]
    assert told.started == [("a", 1), ("b", 1)]


def test_a_dispatcher_that_fails_leaves_nothing_running() -> None:
    class Failing(Told):
        def ended(self) -> Sequence[Ended]:
            raise ConnectionError("the server is gone")

    told = Failing({"a": ["passed"], "b": ["passed"]}, 2)
    with pytest.raises(ConnectionError, match="the server is gone"):
        list(fan_out(["a", "b"], told))
    assert told.stopped == ["a", "b"]


def test_a_fleet_holds_a_few_kilobytes_of_a_model_and_no_more_while_it_runs() -> None:
    """What it is told of each: figures, where it is filed, where it lies. Measured: 4 KB."""

    def held(models: int) -> int:
        names = [f"m{number}" for number in range(models)]

        class Full(Told):
            def ended(self) -> Sequence[Ended]:
                (ended,) = super().ended()
                assert ended.summary is not None
                return [Ended(ended.run, full(ended.summary.model))]

        told = Full({name: ["passed"] for name in names}, 4)
        tracemalloc.start()
        summaries = [summary for _, summary in fan_out(names, told)]
        told.started.clear()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(summaries) == models
        return peak

    few, many = held(50), held(1050)
    assert (many - few) / 1000 < 8192


def full(model: str) -> ModelSummary:
    figures = tuple(Figure(iou_type=kind, metric="AP", original=50.5, converted=50.25) for kind in ("bbox", "segm"))
    registered = Registered(
        run_id=model * 8,
        run_url=f"http://127.0.0.1:5000/#/experiments/1/runs/{model * 8}",
        name=f"{model}.caffe2",
        version=1,
        alias="validated",
        tracking_uri="http://127.0.0.1:5000",
        created=True,
    )
    target = TargetSummary(
        target="caffe2",
        passed=True,
        figures=figures,
        judged_by="caffe2",
        registered=registered,
        report=f"/srv/store/report/{model * 12}",
        artifacts=f"/srv/store/convert/{model * 12}",
    )
    return ModelSummary(model=model, ended="passed", targets=(target,), seconds=1.5)
