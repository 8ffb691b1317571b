"""The watch bites: readers that do what none may are found out, each for what it did."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st


class Call:
    """Pickled, it asks for a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


@pytest.fixture
def outcome(watched_reading: Any, tmp_path: Path) -> Any:
    def read(reader: str, content: bytes = b"", **options: Any) -> tuple[str, str]:
        answer = watched_reading.read(reader, {"input": content}, [], tmp_path / "base", **options)
        return answer["outcome"], answer["message"]

    return read


@pytest.mark.parametrize(
    ("call", "event"),
    [
        (Call(os.system, "touch ran"), "pickle.find_class ('posix', 'system')"),
        (Call(eval, "1 + 1"), "pickle.find_class ('builtins', 'eval')"),
    ],
    ids=["system", "eval"],
)
def test_a_pickle_that_names_what_is_not_data_is_found_out(outcome: Any, call: Call, event: str) -> None:
    assert outcome("unpickle", pickle.dumps(call)) == ("forbidden", event)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("!!python/object/apply:os.system ['touch ran']", "os.system"),
        ("!!python/object/apply:subprocess.Popen [[touch, ran]]", "subprocess.Popen"),
        ("!!python/object/apply:builtins.exec ['1']", "compile"),
        ("!!python/name:antigravity.x", "import ('antigravity'"),
        ("!!python/object/apply:socket.socket []", "socket.__new__"),
        ("!!python/object/apply:os.mkdir [made]", "os.mkdir"),
        ("!!python/object/apply:os.remove [../outside/secret]", "os.remove"),
        ("!!python/object/apply:os.symlink [a, b]", "os.symlink"),
        ("!!python/object/apply:builtins.open [ran, w]", "open ('ran', 'w'"),
    ],
)
def test_yaml_that_constructs_objects_is_found_out(outcome: Any, text: str, event: str) -> None:
    kind, message = outcome("load_unsafe_yaml", text.encode())
    assert (kind, message[: len(event)]) == ("forbidden", event)


@pytest.mark.parametrize(
    ("reader", "expected"),
    [
        ("evaluate", ("forbidden", "compile")),
        ("compile_as_a_graph", ("forbidden", "compile")),
        ("overwrite_input", ("forbidden", "open")),
        ("write_unseen", ("wrote", "changed")),
        ("empty_unseen", ("wrote", "changed")),
        ("fill_disk", ("error", "OSError: [Errno 27] File too large")),
        ("read_outside", ("forbidden", "open")),
        ("raise_key_error", ("error", "KeyError: 'input'")),
        ("say_two_lines", ("badly said", "a\nb")),
        ("say_without_end", ("badly said", "aaa")),
        ("recurse", ("error", "RecursionError")),
        ("fill_memory", ("error", "MemoryError")),
        ("crash", ("killed", "SIGSEGV")),
        ("leave", ("error", "SystemExit")),
        ("leave_at_once", ("ended", "ended with 0")),
    ],
)
def test_a_reader_that_misbehaves_is_found_out(outcome: Any, reader: str, expected: tuple[str, str]) -> None:
    kind, message = outcome(reader, b"1 + 1")
    assert (kind, message[: len(expected[1])]) == expected


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        ("<script>alert(1)</script>", "an element 'script'"),
        ("<foreignObject/>", "an element 'foreignObject'"),
        ("<g onload='alert(1)'/>", "an attribute 'onload'"),
        (
            "<g xmlns:x='http://www.w3.org/1999/xlink' x:href='javascript:alert(1)'/>",
            "an attribute '{http://www.w3.org/1999",
        ),
        ("<a/>", "an element 'a'"),
        ("<style/>", "an element 'style'"),
    ],
)
def test_a_drawing_that_acts_is_found_out(outcome: Any, inner: str, said: str) -> None:
    kind, message = outcome("draw_as_told", f"<svg xmlns='http://www.w3.org/2000/svg'>{inner}</svg>".encode())
    assert kind == "error"
    assert message.startswith(f"AssertionError: the drawing has {said}")


def test_a_reader_that_computes_without_end_is_found_out(outcome: Any) -> None:
    assert outcome("compute_without_end", cpu_seconds=1) == ("killed", "SIGXCPU")


def test_a_reader_that_waits_is_found_out(outcome: Any) -> None:
    assert outcome("wait_without_end", wall_seconds=0.5) == ("hung", "did not end within 0.5 s")


def test_a_fuzzing_test_fails_on_the_input_that_a_reader_stumbles_over(fuzz_with: Any, tmp_path: Path) -> None:
    valid, hostile = ({"input": pickle.dumps(content)} for content in (1, Call(os.system, "touch ran")))
    with pytest.raises(AssertionError, match=r"^forbidden: pickle.find_class"):
        fuzz_with(10, "unpickle", (valid, []), st.sampled_from([(valid, []), (hostile, [])]))
    assert (tmp_path / "last" / "input" / "input").read_bytes() == hostile["input"]


def test_a_fuzzing_test_fails_on_an_attack_that_is_known(fuzz_with: Any) -> None:
    valid, hostile = ({"input": pickle.dumps(content)} for content in (1, Call(os.system, "touch ran")))
    with pytest.raises(AssertionError, match=r"^forbidden: pickle.find_class"):
        fuzz_with(1, "unpickle", (valid, []), st.just((valid, [])), [(hostile, [])])


def test_a_fuzzing_test_fails_when_too_few_inputs_were_tried(fuzz_with: Any) -> None:
    valid = ({"input": pickle.dumps(1)}, [])
    with pytest.raises(AssertionError, match=r"only \d of 10 inputs were tried"):
        fuzz_with(10, "unpickle", valid, st.just(valid))
