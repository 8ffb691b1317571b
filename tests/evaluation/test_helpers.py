import os
import sys
import threading

import pytest
import torch

from roastery.evaluation.helpers import Helpers, helper_threads

COUNTS = pytest.mark.parametrize("count", [0, 1, 2])


@pytest.mark.parametrize(("threads", "helpers"), [(1, 0), (2, 1), (3, 2), (16, 2)])
def test_there_is_a_helper_for_each_thread_beyond_the_first_and_at_most_two(threads, helpers, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert helper_threads() == helpers


@COUNTS
def test_results_come_in_the_order_of_the_tasks(count):
    with Helpers(count) as beside:
        assert [ready() for ready in beside.ahead([lambda k=k: k * k for k in range(20)])] == [k * k for k in range(20)]
        assert list(beside.ahead([])) == []


@COUNTS
def test_an_error_is_raised_by_whoever_asks_for_that_result_alone(count):
    def fail():
        raise ValueError("the second")

    with Helpers(count) as beside:
        first, second, third = (beside.submit(task) for task in (lambda: 1, fail, lambda: 3))
        assert (first.result(), third.result()) == (1, 3)
        with pytest.raises(ValueError, match="the second"):
            second.result()
        readers = list(beside.ahead([lambda: 1, fail, lambda: 3]))
        with pytest.raises(ValueError, match="the second"):
            readers[1]()
        assert (readers[0](), readers[2]()) == (1, 3)


def test_no_more_than_the_next_task_is_begun_ahead():
    begun = []
    with Helpers(1) as beside:
        for place, ready in enumerate(beside.ahead([lambda k=k: begun.append(k) for k in range(6)])):
            ready()
            beside.submit(lambda: None).result()
            assert begun == list(range(min(place + 2, 6)))


def test_without_helpers_a_task_is_done_when_its_result_is_asked_for_and_by_who_asks():
    seen = []
    with Helpers(0) as beside:
        readers = list(beside.ahead([lambda: seen.append(threading.get_ident())]))
        assert seen == []
        readers[0]()
    assert seen == [threading.get_ident()]


def test_an_interruption_lets_go_of_what_has_not_begun_and_leaves_no_thread():
    gate, begun, late = threading.Event(), [], []

    def interrupted():
        with Helpers(1) as beside:
            beside.submit(gate.wait)
            late.append(beside.submit(lambda: begun.append(1)))
            threading.Timer(0.05, gate.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert late[0].cancelled()
    assert begun == []
    assert not any(thread.name.startswith("helper") for thread in threading.enumerate())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a priority is the whole process's")
def test_a_helper_steps_back_behind_the_process_and_the_process_stays_where_it_was():
    def own() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = own()
    with Helpers(1) as beside:
        assert beside.submit(own).result() == 19
    assert own() == before
