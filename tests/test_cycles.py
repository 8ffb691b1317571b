import gc

import pytest

from roastery.cycles import cycles_left_alone


def test_cycles_are_not_searched_meanwhile_and_are_again_afterwards():
    assert gc.isenabled()
    with cycles_left_alone():
        assert not gc.isenabled()
        with cycles_left_alone():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_they_are_searched_again_after_an_error():
    with pytest.raises(ValueError, match="within"), cycles_left_alone():
        raise ValueError("within")
    assert gc.isenabled()


def test_where_they_were_not_searched_before_they_are_not_afterwards():
    gc.disable()
    try:
        with cycles_left_alone():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
