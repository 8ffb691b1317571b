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
        first, second, third = (beside.begin(task) for task in (lambda: 1, fail, lambda: 3))
        assert (first(), third()) == (1, 3)
        with pytest.raises(ValueError, match="the second"):
            second()
        readers = list(beside.ahead([lambda: 1, fail, lambda: 3]))
        with pytest.raises(ValueError, match="the second"):
            readers[1]()
        assert (readers[0](), readers[2]()) == (1, 3)


@COUNTS
def test_no_more_than_the_next_task_is_begun_ahead(count):
    begun = []
    with Helpers(count) as beside:
        for place, ready in enumerate(beside.ahead(lambda k=k: begun.append(k) for k in range(6))):
            ready()
            assert sorted(begun) in (list(range(place + 1)), list(range(min(place + 2, 6))))


def test_what_no_helper_has_begun_is_done_by_who_asks_for_it():
    gate, busy, done_by = threading.Event(), threading.Event(), []

    def occupied():
        busy.set()
        gate.wait()

    with Helpers(1) as beside:
        beside.begin(occupied)
        busy.wait()
        waiting = beside.begin(lambda: done_by.append(threading.get_ident()))
        waiting()
        assert done_by == [threading.get_ident()]
        gate.set()
    assert len(done_by) == 1


def test_without_helpers_a_task_is_done_when_its_result_is_asked_for_and_by_who_asks():
    seen = []
    with Helpers(0) as beside:
        readers = list(beside.ahead([lambda: seen.append(threading.get_ident())]))
        assert seen == []
        readers[0]()
    assert seen == [threading.get_ident()]


def test_an_interruption_lets_go_of_what_has_not_begun_and_leaves_no_thread():
    gate, busy, late = threading.Event(), threading.Event(), []

    def interrupted():
        with Helpers(1) as beside:
            beside.begin(lambda: (busy.set(), gate.wait()))
            busy.wait()
            beside.begin(lambda: late.append(1))
            threading.Timer(0.05, gate.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert late == []
    assert not any(thread.name.startswith("helper") for thread in threading.enumerate())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a priority is the whole process's")
@pytest.mark.skipif(os.nice(0) > 10, reason="the process has stepped back further itself")
def test_a_helper_steps_back_behind_the_process_and_the_process_stays_where_it_was():
    def own() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = own()
    seen, done = [], threading.Event()
    with Helpers(1) as beside:
        beside.begin(lambda: (seen.append(own()), done.set()))
        done.wait()
    assert seen == [10]
    assert own() == before
