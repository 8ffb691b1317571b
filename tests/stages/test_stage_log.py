"""What is kept of a stage's log."""

import logging

from roastery.stages.stage_log import listening


def test_roasterys_own_words_are_kept_and_a_librarys_chatter_is_not() -> None:
    with listening() as log:
        logging.getLogger("roastery.stages.stage").info("mask trace: building %s", "0a")
        logging.getLogger("urllib3").debug("chatter")
        logging.getLogger("urllib3").warning("a warning")
    first, second = log.text.splitlines()
    assert first.endswith("INFO roastery.stages.stage: mask trace: building 0a")
    assert second.endswith("WARNING urllib3: a warning")


def test_what_is_logged_afterwards_is_no_part_of_it() -> None:
    before = logging.getLogger("roastery").level
    with listening() as log:
        pass
    logging.getLogger("roastery").warning("later")
    assert log.text == ""
    assert logging.getLogger("roastery").level == before


def test_a_stage_that_logs_without_end_keeps_its_last_lines() -> None:
    with listening() as log:
        log.add("\n".join(str(number) for number in range(100_000)))
    assert log.text.splitlines()[-1] == "99999"
    assert len(log.text.splitlines()) == 2000


def test_an_error_is_kept_with_its_traceback() -> None:
    with listening() as log:
        try:
            raise ValueError("odd")
        except ValueError as error:
            log.add_error(error)
    assert log.text.startswith("Traceback (most recent call last):")
    assert log.text.endswith("ValueError: odd\n")
