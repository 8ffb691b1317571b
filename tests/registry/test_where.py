"""Questions of figures: what may be asked, what is refused, and that MLflow understands what we ask it."""

import operator
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.search_logged_model_utils import parse_filter_string

from roastery.errors import ConfigError
from roastery.registry.where import Condition, parse_where

PYTHONS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
# Names that MLflow takes for a metric: letters, digits, and these signs.
NAMES = st.from_regex(r"[a-zA-Z0-9_./:\-]{1,40}", fullmatch=True)
SPACED_NAMES = st.from_regex(r"[a-zA-Z0-9_./:\- ]{1,40}", fullmatch=True)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
CONDITIONS = st.builds(Condition, SPACED_NAMES, st.sampled_from(sorted(PYTHONS)), NUMBERS)


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("ap_bbox > 40", [("ap_bbox", ">", 40.0)]),
        ("ap_delta_bbox<-0.1", [("ap_delta_bbox", "<", -0.1)]),
        ("  ap_bbox  >=  +40.  ", [("ap_bbox", ">=", 40.0)]),
        ("a == 1", [("a", "=", 1.0)]),
        ("a = .5", [("a", "=", 0.5)]),
        ("a != 1e3", [("a", "!=", 1000.0)]),
        ("a <= 1.5E-2", [("a", "<=", 0.015)]),
        ("latency_ms/torch/median < 30", [("latency_ms/torch/median", "<", 30.0)]),
        ("torch/bbox/AP-hot.dog:1 < 30", [("torch/bbox/AP-hot.dog:1", "<", 30.0)]),
        ("`torch/bbox/AP-hot dog` > 1", [("torch/bbox/AP-hot dog", ">", 1.0)]),
        ("`and` > 1 and and > 2", [("and", ">", 1.0), ("and", ">", 2.0)]),
        ("a > 1 and b < 2 AND c = 3", [("a", ">", 1.0), ("b", "<", 2.0), ("c", "=", 3.0)]),
        ("a > 1\n and\tb < 2", [("a", ">", 1.0), ("b", "<", 2.0)]),
        ("größe > 1", [("größe", ">", 1.0)]),
    ],
)
def test_a_question_is_metric_sign_number_with_and_between_several(text, conditions):
    assert parse_where(text) == tuple(Condition(*each) for each in conditions)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", ""),
        ("ap_bbox", "ap_bbox"),
        ("ap_bbox >", "ap_bbox >"),
        ("> 1", "> 1"),
        ("ap_bbox > forty", "ap_bbox > forty"),
        ("ap_bbox > 1e999", "ap_bbox > 1e999"),
        ("ap_bbox > nan", "ap_bbox > nan"),
        ("ap_bbox > inf", "ap_bbox > inf"),
        ("ap_bbox => 1", "ap_bbox => 1"),
        ("ap_bbox <> 1", "ap_bbox <> 1"),
        ("ap_bbox LIKE '%'", "ap_bbox LIKE '%'"),
        ("a b > 1", "a b > 1"),
        ("`a > 1", "`a > 1"),
        ("`a`b` > 1", "`a`b` > 1"),
        ("`` > 1", "`` > 1"),
        ("a > 1 b > 2", "b > 2"),
        ("a > 1 or b > 2", "or b > 2"),
        ("a > 1 andb > 2", "andb > 2"),
        ("a > 1 and", ""),
        ("a > 1 and and", " and"),
        ("a > 1; DROP TABLE metrics", "; DROP TABLE metrics"),
        ("a > 1 --", "--"),
        ("a' OR '1'='1", "a' OR '1'='1"),
        ("`a' OR '1` = 1", "`a' OR '1` = 1"),
        ("a > 1 and (b > 2)", " (b > 2)"),
        ("metrics.`a` > 1", "metrics.`a` > 1"),
    ],
)
def test_what_is_no_question_is_refused_in_one_line_that_names_the_place(text, place):
    with pytest.raises(ConfigError) as told:
        parse_where(text)
    assert f"--where {text!r}: cannot be read at {place[:20]!r}; write METRIC < NUMBER" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 100_000,
        " " * 100_000,
        "a > 1 and " * 10_000,
        "`" * 2000,
        "a > " + "1" * 100_000,
        "a" * 251 + " > 1",
        "a >" + " " * 1990,
        "-" * 2000,
        "\x1b[2J > 1",
        "\u202e > 1",
        "\ud800 > 1",
        "a\x00b > 1",
    ],
)
def test_a_hostile_question_is_refused_at_once_in_one_short_printable_line(text):
    began = time.perf_counter()
    with pytest.raises(ConfigError) as told:
        parse_where(text)
    assert time.perf_counter() - began < 1
    assert len(str(told.value)) < 1000
    assert str(told.value).isprintable()


@given(st.text(max_size=60) | st.text("ab `<>=!andAND0123456789.eE+-'\"", max_size=60))
def test_any_text_is_conditions_or_one_line(text):
    try:
        conditions = parse_where(text)
    except ConfigError as error:
        conditions, told = (), str(error)
    else:
        told = ""
    assert "\n" not in told
    assert bool(conditions) is not bool(told)
    assert all(re.fullmatch(r"[\w./\- :]{1,250}", each.metric) for each in conditions)
    assert all(each.sign in PYTHONS for each in conditions)


@given(st.lists(st.tuples(NAMES, st.sampled_from(sorted(PYTHONS)), NUMBERS), min_size=1, max_size=4), st.booleans())
def test_what_is_written_is_what_is_understood(parts, quoted):
    text = " and ".join(f"{f'`{name}`' if quoted else name} {sign} {number!r}" for name, sign, number in parts)
    assert parse_where(text) == tuple(Condition(*each) for each in parts)


@given(st.lists(CONDITIONS, min_size=1, max_size=4))
def test_mlflow_understands_every_condition_as_it_was_meant(conditions):
    understood = parse_filter_string(" AND ".join(map(str, conditions)))
    assert [(each.entity.type.value, each.entity.key, each.op, each.value) for each in understood] == [
        ("metrics", each.metric, each.sign, each.number) for each in conditions
    ]


@given(CONDITIONS, st.floats())
def test_a_condition_holds_where_python_says_so_and_never_of_a_figure_that_is_not_there(condition, figure):
    assert condition.holds({condition.metric: figure}) is PYTHONS[condition.sign](figure, condition.number)
    assert condition.holds({condition.metric: condition.number}) is (condition.sign in ("=", "<=", ">="))
    assert not condition.holds({})
    assert not condition.holds({f"{condition.metric}x": figure})
