"""What is said to a user stays one line, whatever name is quoted in it."""

import pickle

from hypothesis import given
from hypothesis import strategies as st

from roastery.errors import CheckpointError, UserError


@given(st.text(max_size=60))
def test_a_message_is_one_line_that_can_be_printed(name: str) -> None:
    message = str(UserError(f"{name}: is refused; mend it"))
    assert message.isprintable()
    assert message.endswith(": is refused; mend it")


def test_what_would_break_a_line_or_turn_it_round_is_escaped() -> None:
    assert str(UserError("a\nb\x1b[2J\u202ec\0")) == "a\\nb\\x1b[2J\\u202ec\\x00"
    assert str(UserError("é 漢 '\\'")) == "é 漢 '\\'"


def test_an_endless_message_keeps_its_thing_and_its_way_out() -> None:
    message = str(UserError(f"model.pb: {'x' * 100_000}; mend it"))
    assert len(message) < 3001
    assert message.startswith("model.pb: xxx")
    assert message.endswith("xxx; mend it")


def test_an_error_goes_through_a_pickle_as_it_is() -> None:
    again = pickle.loads(pickle.dumps(CheckpointError("a\nb")))
    assert (type(again), str(again)) == (CheckpointError, "a\\nb")
