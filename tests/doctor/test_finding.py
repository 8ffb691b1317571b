"""A check that hangs or breaks is a finding, and the next one is made."""

import time

import pytest

from roastery.doctor.finding import Check, Finding, bounded
from roastery.errors import ConfigError


def test_a_check_that_hangs_is_told_by_its_name_in_its_time() -> None:
    begun = time.monotonic()
    found = bounded(
        Check("a server", lambda: time.sleep(60) or Finding("a server", "ok", ""), seconds=0.2, place="http://a")
    )
    assert time.monotonic() - begun < 10
    assert (found.name, found.state) == ("a server", "wrong")
    assert found.found == "http://a: timed out: no answer within 0.2 s"


@pytest.mark.parametrize(
    ("error", "found", "way_out"),
    [
        (ConfigError("a.yaml: no such file; name another"), "a.yaml: no such file", "name another"),
        (ConfigError("a.yaml: not YAML"), "a.yaml: not YAML", "mend what it names, and look again"),
        (OSError("broken\npipe"), "OSError: broken pipe", "mend what it names, and look again"),
    ],
)
def test_an_error_is_told_in_one_line_with_its_way_out(error: Exception, found: str, way_out: str) -> None:
    def look() -> Finding:
        raise error

    told = bounded(Check("a thing", look))
    assert told == Finding("a thing", "wrong", found, way_out)
