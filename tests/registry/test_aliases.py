"""Promoting and rolling back: only what passes is promoted, every move is on record, and rolling back goes further."""

import getpass
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from roastery.errors import ConfigError, RegistryUnavailable
from roastery.registry.aliases import Move, moves
from roastery.registry.filed import file_reevaluation
from roastery.registry.registry import Registry

NAME = "street_signs"

# Promotes one version after another when the start file appears.
PROMOTE_WHEN_STARTED = """
import sys, time
from pathlib import Path
from roastery.registry.registry import Registry

uri, name, start, *versions = sys.argv[1:]
registry = Registry(uri)
registry.catalog.client
Path(start + f".ready-{time.monotonic_ns()}").touch()
while not Path(start).exists():
    time.sleep(0.01)
for version in versions:
    registry.promote(name, reason=f"by {sys.argv[4:]}", version=int(version))
"""


def add_model(registry, name=NAME, versions=3, **tags):
    """Versions that passed, as the tags say; the files behind them are nobody's business here."""
    client = registry.catalog.client
    client.create_registered_model(f"{name}.caffe2")
    for _ in range(versions):
        client.create_model_version(f"{name}.caffe2", "file:///nowhere", tags={"verdict": "passed", **tags})


def recorded(registry, name=NAME):
    return moves(registry.catalog.client.get_registered_model(f"{name}.caffe2"))


def holder(registry, alias="production", name=NAME):
    held = registry.catalog.client.get_registered_model(f"{name}.caffe2").aliases
    return int(held[alias]) if alias in held else None


def fail_once(monkeypatch, client, step, when):
    genuine = getattr(client, step)

    def fail(*args, **kwargs):
        if when == "after":
            genuine(*args, **kwargs)
        raise MlflowException("injected fault", error_code=TEMPORARILY_UNAVAILABLE)

    monkeypatch.setattr(client, step, fail)


@pytest.fixture
def registry(catalog):
    return Registry(catalog.tracking_uri)


@pytest.fixture(scope="module")
def lock_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("locks")


def test_a_move_is_on_record_with_time_reason_and_person(registry, monkeypatch):
    add_model(registry)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    before = datetime.now(UTC)

    first = registry.promote(NAME, reason="a week in staging", version=1)
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    second = registry.promote(NAME, reason="größer, 'better'; \"new\" \x00 \U0001f600", version=3)

    assert recorded(registry) == [first, second]
    assert before <= first.at <= second.at <= datetime.now(UTC)
    assert (first.from_version, first.to_version, first.by, first.back) == (None, 1, "ada", False)
    assert (second.from_version, second.to_version, second.by) == (1, 3, getpass.getuser())
    assert second.reason == "größer, 'better'; \"new\" \x00 \U0001f600"
    assert holder(registry) == 3
    assert Move.model_validate_json(second.model_dump_json()) == second


def test_a_version_that_holds_the_alias_already_is_no_move(registry):
    add_model(registry)
    assert registry.promote(NAME, reason="first", version=2) is not None

    assert registry.promote(NAME, reason="again", version=2) is None

    assert [each.reason for each in recorded(registry)] == ["first"]


def test_a_team_has_as_many_aliases_as_it_wants_each_with_its_own_history(registry):
    add_model(registry)
    registry.promote(NAME, "staging", reason="1", version=1)
    registry.promote(NAME, "production", reason="2", version=2)
    registry.promote(NAME, "staging", reason="3", version=3)

    assert registry.roll_back(NAME, "staging", reason="4").to_version == 1

    assert (holder(registry, "staging"), holder(registry)) == (1, 2)


@pytest.mark.parametrize("asked", [NAME, f"{NAME}.caffe2", f"models:/{NAME}", f"models:/{NAME}.caffe2"])
@pytest.mark.parametrize(("judges", "promoted"), [("ccc", 3), ("tcc", 3), ("ctt", 1), ("ttt", 3)])
def test_validated_is_promoted_by_default_else_candidate(registry, asked, judges, promoted):
    add_model(registry)
    for number, judge in enumerate(judges, 1):
        registry.catalog.client.set_registered_model_alias(f"{NAME}.caffe2", "candidate", str(number))
        if judge == "c":
            registry.catalog.client.set_registered_model_alias(f"{NAME}.caffe2", "validated", str(number))

    assert registry.promote(asked, reason="good").to_version == promoted


def test_a_version_in_the_name_is_the_one_that_is_promoted(registry):
    add_model(registry)
    registry.catalog.client.set_registered_model_alias(f"{NAME}.caffe2", "validated", "3")
    registry.catalog.client.set_registered_model_alias(f"{NAME}.caffe2", "staging", "1")

    assert registry.promote(f"{NAME}/2", reason="that one").to_version == 2
    assert registry.promote(f"{NAME}@staging", reason="that one").to_version == 1
    with pytest.raises(ConfigError, match="is no registered model"):
        registry.promote(f"{NAME}/2", reason="which one?", version=1)


def test_a_real_conversion_that_passed_is_promoted_and_one_that_did_not_is_not(
    registry, catalog, make_conversion, files
):
    catalog.log(make_conversion(name=NAME, judged_by="caffe2"), files)
    catalog.log(make_conversion(name=NAME, key="b2" * 32, passed=False), files)

    assert registry.promote(NAME, reason="good").to_version == 1

    with pytest.raises(ConfigError, match=rf"{NAME}.caffe2 version 2 did not pass its gate; promote one that did"):
        registry.promote(NAME, reason="bad", version=2)
    assert holder(registry) == 1
    assert [each.reason for each in recorded(registry) if each.alias == "production"] == ["good"]


def test_a_version_that_failed_when_it_was_measured_again_is_refused_until_it_passes(
    registry, catalog, make_conversion, files
):
    catalog.log(make_conversion(name=NAME), files)
    file_reevaluation(catalog, f"{NAME}.caffe2", 1, "e5" * 32, make_conversion(name=NAME, passed=False).evaluation)

    with pytest.raises(ConfigError, match="passed once, but not when it was measured again"):
        registry.promote(NAME, reason="bad", version=1)
    with pytest.raises(ConfigError, match="no version passes its gate; convert it again, or name one with --version"):
        registry.promote(NAME, reason="bad")
    assert holder(registry) is None

    file_reevaluation(catalog, f"{NAME}.caffe2", 1, "e6" * 32, make_conversion(name=NAME).evaluation)
    assert registry.promote(NAME, reason="good").to_version == 1


@pytest.mark.parametrize(
    "alias", ["candidate", "validated", "Candidate", "VALIDATED"], ids=lambda alias: f"alias {alias}"
)
def test_the_gates_aliases_are_not_to_be_had(registry, alias):
    add_model(registry)
    for ask in (registry.promote, registry.roll_back):
        with pytest.raises(ConfigError, match=f"alias '{alias}' is the gate's: a version earns it by passing"):
            ask(NAME, alias, reason="please")
    assert recorded(registry) == []


@pytest.mark.parametrize(
    "alias",
    [
        "",
        "v1",
        "V12",
        "latest",
        "Latest",
        "a b",
        "a/b",
        "a@b",
        "-a",
        "a" * 81,
        "a\n",
        "a'b",
        "a\x00",
        "*",
        "a.b",
        "\u0661 ",
    ],
)
def test_an_alias_that_mlflow_does_not_take_is_one_line(registry, alias):
    add_model(registry)
    with pytest.raises(ConfigError) as told:
        registry.promote(NAME, alias, reason="please", version=1)
    assert str(told.value) == f"alias {alias!r} is none that MLflow takes; use letters, digits, '-' and '_'"
    assert recorded(registry) == []


@pytest.mark.parametrize("alias", ["a", "v1a", "latest2", "a-b_c", "9", "a" * 80, "größe"])
def test_an_alias_that_is_taken_is_one_that_a_version_is_found_by(registry, alias):
    add_model(registry)
    registry.promote(NAME, alias, reason="please", version=2)
    assert holder(registry, alias) == 2
    assert registry.promote(f"{NAME}@{alias}", "other", reason="found").to_version == 2


@pytest.mark.parametrize(
    ("asked", "version", "told"),
    [
        ("nobody", None, "nobody: has no converted version in sqlite:"),
        ("nobody", 1, "nobody: has no converted version in sqlite:"),
        (NAME, 7, f"{NAME}/7: there is no such version; {NAME}.caffe2 has the aliases none"),
        (NAME, 0, "is no registered model"),
        (NAME, -1, "is no registered model"),
        ("", None, "has no converted version"),
        (f"{NAME}@nobody", None, "there is no such version"),
        ("it's", 1, "it's: has no converted version"),
    ],
)
def test_what_is_not_there_is_one_line(registry, asked, version, told):
    add_model(registry)
    with pytest.raises(ConfigError) as caught:
        registry.promote(asked, reason="please", version=version)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert recorded(registry) == []


@pytest.mark.parametrize("reason", ["", "  \n\t"])
def test_a_move_without_a_reason_is_refused(registry, reason):
    add_model(registry)
    registry.promote(NAME, reason="first", version=1)
    registry.promote(NAME, reason="second", version=2)
    for ask in (registry.promote, registry.roll_back):
        with pytest.raises(ConfigError, match="a move of an alias goes on record with its reason; say one"):
            ask(NAME, reason=reason)
    assert len(recorded(registry)) == 2


def test_of_an_endless_reason_the_beginning_is_kept(registry):
    add_model(registry)
    registry.promote(NAME, reason="why " * 100_000, version=1)
    assert recorded(registry)[0].reason == ("why " * 100_000)[:2000]


def test_rolling_back_goes_one_further_each_time_and_ends_before_the_first(registry):
    add_model(registry, versions=4)
    for version in (1, 2, 3, 4):
        registry.promote(NAME, reason="newer", version=version)

    back = [registry.roll_back(NAME, reason="worse") for _ in range(3)]

    assert [(each.from_version, each.to_version, each.back) for each in back] == [
        (4, 3, True),
        (3, 2, True),
        (2, 1, True),
    ]
    with pytest.raises(ConfigError, match=f"{NAME}.caffe2: no version was called 'production' before version 1"):
        registry.roll_back(NAME, reason="worse still")
    assert holder(registry) == 1


def test_rolling_back_past_a_version_that_was_promoted_twice_does_not_turn_round(registry):
    add_model(registry)
    for version in (1, 2, 1):
        registry.promote(NAME, reason="tried", version=version)

    assert [registry.roll_back(NAME, reason="worse").to_version for _ in range(2)] == [2, 1]
    with pytest.raises(ConfigError, match="before version 1"):
        registry.roll_back(NAME, reason="worse still")


def test_a_version_that_was_rolled_back_from_is_not_rolled_back_to(registry):
    add_model(registry)
    registry.promote(NAME, reason="good", version=1)
    registry.promote(NAME, reason="better", version=2)
    registry.roll_back(NAME, reason="it is not")
    registry.promote(NAME, reason="mended", version=3)

    assert registry.roll_back(NAME, reason="it is not").to_version == 1


def test_nothing_is_rolled_back_where_nothing_was_promoted(registry):
    add_model(registry)
    with pytest.raises(ConfigError, match=f"{NAME}.caffe2: no version is called 'production'; promote one first"):
        registry.roll_back(NAME, reason="worse")
    with pytest.raises(ConfigError, match="has no converted version"):
        registry.roll_back("nobody", reason="worse")


def test_an_alias_that_somebody_moved_by_hand_is_rolled_back_to_what_the_record_knows(registry):
    add_model(registry, versions=4)
    registry.promote(NAME, reason="good", version=1)
    registry.promote(NAME, reason="better", version=2)
    registry.catalog.client.set_registered_model_alias(f"{NAME}.caffe2", "production", "4")

    assert [registry.roll_back(NAME, reason="worse").to_version for _ in range(2)] == [2, 1]


@pytest.mark.parametrize("gone", ["deleted", "failed", "failed again"])
def test_a_version_that_does_not_pass_any_more_is_not_rolled_back_to(registry, gone):
    add_model(registry)
    registry.promote(NAME, reason="good", version=1)
    registry.promote(NAME, reason="better", version=2)
    client = registry.catalog.client
    if gone == "deleted":
        client.delete_model_version(f"{NAME}.caffe2", "1")
    else:
        tag = {"failed": "verdict", "failed again": "reevaluation"}[gone]
        client.set_model_version_tag(f"{NAME}.caffe2", "1", tag, "failed")

    with pytest.raises(ConfigError, match=r"version 1 (did not pass|passed once)|there is no such version"):
        registry.roll_back(NAME, reason="worse")
    assert holder(registry) == 2
    assert len(recorded(registry)) == 2


@pytest.mark.parametrize("said", ["", "{", "[]", '{"at": 1}', "7", "\x00"])
def test_what_a_stranger_wrote_as_a_move_is_left_out(registry, said):
    add_model(registry)
    registry.promote(NAME, reason="good", version=1)
    registry.catalog.client.set_registered_model_tag(f"{NAME}.caffe2", "roastery.move.20200101", said)
    registry.promote(NAME, reason="better", version=2)

    assert [each.reason for each in recorded(registry)] == ["good", "better"]
    assert registry.roll_back(NAME, reason="worse").to_version == 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["set_registered_model_tag", "set_registered_model_alias"])
@pytest.mark.parametrize("what", ["promote", "roll_back"])
def test_a_move_that_was_cut_short_is_whole_when_it_is_done_again(registry, monkeypatch, what, step, when):
    add_model(registry)
    registry.promote(NAME, reason="good", version=1)
    registry.promote(NAME, reason="better", version=2)
    options = {"version": 3} if what == "promote" else {}

    def ask():
        return getattr(registry, what)(NAME, reason="again", **options)

    with monkeypatch.context() as faulty:
        fail_once(faulty, registry.catalog.client, step, when)
        with pytest.raises(RegistryUnavailable, match="injected"):
            ask()
    moved = (step, when) == ("set_registered_model_alias", "after")
    expected = {"promote": 3, "roll_back": 1}[what]
    assert holder(registry) == (expected if moved else 2)

    if not moved or what == "promote":
        # What moved already is not moved twice.
        assert (ask() is None) is moved
    assert holder(registry) == expected
    # The record says every move that was made, and the way back is what it would have been.
    assert [(each.from_version, each.to_version) for each in recorded(registry)][-1] == (2, expected)
    if what == "promote":
        assert [registry.roll_back(NAME, reason="worse").to_version for _ in range(2)] == [2, 1]
    with pytest.raises(ConfigError, match="before version 1"):
        registry.roll_back(NAME, reason="worse")


class Remembering:
    """As much of MLflow's client as a move needs, in memory: for a law that is tried often."""

    def __init__(self, name):
        self.name, self.tags, self.aliases = name, {}, {}
        self.latest_versions = [self.get_model_version(name, number) for number in (1, 2, 3)]

    def get_registered_model(self, name):
        assert name == self.name
        return self

    def get_model_version(self, name, version):
        return SimpleNamespace(name=name, version=str(version), tags={"verdict": "passed"})

    def set_registered_model_tag(self, name, key, value):
        self.tags[key] = value

    def set_registered_model_alias(self, name, alias, version):
        self.aliases[alias] = version


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["promote 1", "promote 2", "promote 3", "roll_back", "roll_back"]),
        st.sampled_from(["", "", "x"]),
    ),
    max_size=15,
)


def hold_to_a_stack(registry, steps):
    """Each step in the registry and on a plain stack of versions; those with a mark are cut short."""
    stack = []
    for step, fault in steps:
        what, _, version = step.partition(" ")
        options = {"version": int(version)} if version else {}
        with pytest.MonkeyPatch.context() as faulty:
            if fault:
                fail_once(faulty, registry.catalog.client, "set_registered_model_alias", "before")
            if what == "roll_back" and len(stack) < 2:
                with pytest.raises(ConfigError):
                    registry.roll_back(NAME, reason="worse")
            elif version and stack[-1:] == [int(version)]:
                assert registry.promote(NAME, reason="good", **options) is None
            elif fault:
                with pytest.raises(RegistryUnavailable):
                    getattr(registry, what)(NAME, reason="cut short", **options)
            else:
                made = getattr(registry, what)(NAME, reason="done", **options)
                after = [*stack, int(version)] if version else stack[:-1]
                assert (made.from_version, made.to_version) == ((stack or [None])[-1], after[-1])
                stack = after
        assert holder(registry) == (stack[-1] if stack else None)


@settings(max_examples=300)
@given(steps=STEPS)
def test_an_alias_is_a_stack_whatever_is_promoted_rolled_back_and_cut_short(steps, lock_folder):
    (lock_folder / "nothing.db").touch()
    registry = Registry(f"sqlite:///{lock_folder}/nothing.db")
    registry.catalog.client = Remembering(f"{NAME}.caffe2")
    hold_to_a_stack(registry, steps)


def test_an_alias_is_a_stack_in_a_real_registry(registry):
    add_model(registry)
    steps = ["promote 1", "promote 2", "promote 1", "roll_back", "promote 3", "roll_back", "roll_back", "roll_back"]
    hold_to_a_stack(registry, [(step, fault) for step in steps for fault in ("x", "")])


def test_processes_that_promote_at_once_leave_a_record_without_a_gap(registry, tmp_path):
    add_model(registry, versions=4)
    start = tmp_path / "start"
    command = [sys.executable, "-c", PROMOTE_WHEN_STARTED, registry.catalog.tracking_uri, NAME, str(start)]
    processes = [subprocess.Popen([*command, *versions], stderr=subprocess.PIPE) for versions in ("1213", "4341")]
    try:
        while len(list(tmp_path.glob("start.ready-*"))) < 2:
            assert all(process.poll() is None for process in processes)
            time.sleep(0.01)
        start.touch()
        said = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()

    assert [process.returncode for process in processes] == [0, 0], said
    made = recorded(registry)
    assert made
    assert [each.from_version for each in made] == [None, *(each.to_version for each in made[:-1])]
    assert holder(registry) == made[-1].to_version
    assert all(json.loads(each.model_dump_json()) for each in made)


def test_processes_that_promote_the_same_version_at_once_make_one_move(registry, tmp_path):
    add_model(registry)
    start = tmp_path / "start"
    command = [sys.executable, "-c", PROMOTE_WHEN_STARTED, registry.catalog.tracking_uri, NAME, str(start), "2"]
    processes = [subprocess.Popen(command) for _ in range(2)]
    try:
        while len(list(tmp_path.glob("start.ready-*"))) < 2:
            assert all(process.poll() is None for process in processes)
            time.sleep(0.01)
        start.touch()
        assert [process.wait(120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()

    assert [(each.from_version, each.to_version) for each in recorded(registry)] == [(None, 2)]
