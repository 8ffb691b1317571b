"""Hostile configs: detectron2's YAML, the files that it builds on, overrides; and specs."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

from roastery.config_defaults import DEFAULTS

Changed = Callable[[st.SearchStrategy[bytes]], st.SearchStrategy[bytes]]


def keys_of(tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        yield (*above, key)
        if isinstance(value, Mapping):
            yield from keys_of(value, (*above, key))


KEYS = sorted(keys_of(DEFAULTS))
BASE = b"MODEL:\n  MASK_ON: true\n  PIXEL_MEAN: [1, 2, 3]\nSOLVER:\n  STEPS: (1, 2)\n  BASE_LR: 0.02\n"
CONFIG = b"_BASE_: base.yaml\nMODEL:\n  FPN: &fpn\n    OUT_CHANNELS: 32\nINPUT:\n  MIN_SIZE_TEST: 0x10\nVERSION: 2\n"
VALID = {"config.yaml": CONFIG, "base.yaml": BASE}

_BOMB = b"a0: &a0 [x,x,x,x,x,x,x,x]\n" + b"".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 8)}]\n".encode() for n in range(1, 40)
)
_TEXTS = st.sampled_from(
    [
        *(
            _BOMB,
            b"a: &a [*a]",
            b"a: &a {b: *a}",
            b"&a *a",
            b"? ? ? a",
            b"{" * 5000,
            b"[" * 5000,
            b"- " * 5000,
            b"? " * 9000,
        ),
        *(b"!!python/object/apply:os.system ['touch ran']", b"!!python/name:os.system", b"!!python/module:antigravity"),
        *(
            b"!!python/object/new:type {}",
            b"!!binary aGFsbG8=",
            b"!!set {a, b}",
            b"!!omap [a: 1]",
            b"!!int x",
            b"!!float []",
        ),
        *(
            b"!!timestamp 9999-99-99",
            b"MODEL: !!python/tuple [1]",
            b"!<tag:yaml.org,2002:python/object/apply:eval> ['1']",
        ),
        *(
            b"SEED: " + b"9" * 9000,
            b"SEED: 0x" + b"f" * 9000,
            b"SEED: 1:" + b"59:" * 400 + b"1",
            b"<<: *x",
            b"<<: [1]",
            b"\0",
        ),
        *(
            b"SEED: 0x" + b"f" * 3900,
            b"SEED: '0x" + b"f" * 3900 + b"'",
            b"a: b: c",
            b"%YAML 9.9\n---\n",
            b"--- 1\n--- 2\n",
        ),
        *(
            b"\xff\xfea\x00",
            b"\xfe\xff",
            b"\xef\xbb\xbfSEED: 1",
            b"{[1]: 2}",
            b"{{a: 1}: 2}",
            b"1: 2",
            b"null: 1",
            b"x" * 300000,
        ),
        *(
            b"OUTPUT_DIR: " + b"(" * 3000,
            b"OUTPUT_DIR: '" + b"-" * 4000 + b"1'",
            b"OUTPUT_DIR: " + b"[" * 900 + b"]" * 900,
        ),
        *(
            b"OUTPUT_DIR: '" + b"1+" * 1900 + b"1j'",
            b"OUTPUT_DIR: \"'\\\\ud800'\"",
            b"OUTPUT_DIR: '\"\\N{DIGIT ONE}\"'",
        ),
        *(b"DATASETS: {TEST: " + b"[" * 200 + b"]" * 200 + b"}", b"MODEL: {WEIGHT: x}", b"VERSION: 1", b"VERSION: [2]"),
    ]
)
_BASES = st.sampled_from(
    [
        *(
            "base.yaml",
            "config.yaml",
            "../input/config.yaml",
            "./base.yaml",
            "/etc/passwd",
            "/dev/zero",
            "/dev/stdin",
            "circle",
        ),
        *(
            "../outside/pipe",
            "/proc/self/mem",
            "/proc/self/environ",
            "pipe",
            "loop/config.yaml",
            "~nobody-at-all/x",
            "~/x",
            "\0",
            "/",
        ),
        *(
            "http://x/y",
            "x" * 300,
            "x/" * 3000,
            "",
            ".",
            "..",
            "\ud800",
            "<script>",
            "a\nb",
            "deep.yaml",
            "zero",
            "/dev/full",
        ),
    ]
)
_NUMBERS = (
    st.integers() | st.floats() | st.sampled_from([2**62, 2**63, 2**64, 10**400, -1, 1e308, "1e400", "0x10", True])
)
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    _BASES,
    st.sampled_from(
        [2**62, 10**400, "1e400", "'a'", "[1, 2", "{}", "None", "__import__('os')", "(1, [2])", "f'{1}'", "b'x'", "..."]
    ),
)
_ANY = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def nested(pairs: list[tuple[tuple[str, ...], Any]], bases: Any) -> bytes:
    """A config in YAML (JSON is YAML) with those keys."""
    tree: dict[str, Any] = {} if bases is None else {"_BASE_": bases}
    for (*above, last), value in pairs:
        section: Any = tree
        for key in above:
            section = section.setdefault(key, {})
            if not isinstance(section, dict):
                break
        else:
            section[last] = value
    return json.dumps(tree).encode()


@st.composite
def _close(draw: st.DrawFn) -> tuple[tuple[str, ...], Any]:
    """A key of detectron2's with a value of about the type that it has."""
    key = draw(st.sampled_from(KEYS))
    default: Any = DEFAULTS
    for part in key:
        default = default[part]
    match default:
        case bool():
            return key, draw(st.booleans() | st.sampled_from(["True", 1]))
        case int() | float():
            return key, draw(_NUMBERS)
        case list() | tuple():
            return key, draw(st.lists(st.lists(_NUMBERS, max_size=3) | _NUMBERS | st.text(max_size=4), max_size=5))
        case _:
            return key, draw(st.text(max_size=12) | _LEAVES)


_NESTED = st.builds(
    nested,
    st.lists(
        st.one_of(
            *[_close()] * 4,
            st.tuples(st.sampled_from(KEYS) | st.lists(st.text(max_size=8), min_size=1, max_size=3).map(tuple), _ANY),
        ),
        max_size=5,
    ),
    st.one_of(st.none(), st.just("base.yaml"), _BASES, st.lists(_BASES, max_size=5), _ANY),
)
_SPECIAL = st.sampled_from(
    [("pipe", ""), ("folder", ""), ("link", "/dev/zero"), ("link", "config.yaml"), ("link", "/dev/full")]
)
_OVERRIDES = st.lists(
    st.one_of(
        st.sampled_from(KEYS).map(".".join),
        st.sampled_from(
            [".", "", "MODEL", "MODEL.", "model.device", "MODEL.WEIGHTS.x", "SOLVER.STEPS", "__class__", "a" * 9000]
        ),
        _LEAVES.map(str),
        st.text(max_size=10),
        st.sampled_from(
            ["0x" + "f" * 3900, "(" * 300, "9" * 4096, "[" * 99 + "]" * 99, "'\\ud800'", "{[]: 1}", "1" + "+1" * 2000]
        ),
    ),
    max_size=6,
)
# What a config may lead to.
AROUND = {
    "circle": ("link", "circle"),
    "loop": ("link", "."),
    "zero": ("link", "/dev/zero"),
    "pipe": ("pipe", ""),
    "deep.yaml": b"_BASE_: [deep.yaml, base.yaml, config.yaml]\n",
}


def test_a_hostile_config_gives_a_config_or_one_line(fuzz: Any, mutated: Changed) -> None:
    contents = st.one_of(_NESTED, _NESTED, _TEXTS, mutated(st.just(CONFIG)), _SPECIAL)
    inputs = st.builds(
        lambda config, base, told: ({**AROUND, "config.yaml": config, "base.yaml": base}, told),
        contents,
        st.one_of(st.just(BASE), st.just(BASE), contents),
        st.one_of(st.just([]), st.just([]), _OVERRIDES),
    )
    fuzz("config", (VALID, ["MODEL.DEVICE", "cpu"]), inputs, reads_anywhere=True)


MODEL = {
    "name": "a_model",
    "config": "config.yaml",
    "weights": "model.pkl",
    "weights_sha256": "0" * 64,
    "dataset": "a_dataset",
    "overrides": ["MODEL.DEVICE", "cpu"],
    "runtimes": "torch",
    "gate": {"max_ap_delta": 0.5},
}
DATASET = {
    "name": "a_dataset",
    "images": "images",
    "annotations": "a.json",
    "sample_images": "more",
    "sample_annotations": "b.json",
}
PIPELINE = {
    "store": "store",
    "tracking_uri": "sqlite:///x.db",
    "experiment": "an experiment",
    "shards": 3,
    "sample": {"n": 2},
}
SPECS = {
    "models": ("models/a.yaml", MODEL),
    "datasets": ("datasets/a.yaml", DATASET),
    "pipeline.yaml": ("pipeline.yaml", PIPELINE),
}


@st.composite
def _specs(draw: st.DrawFn, mutate: Changed) -> tuple[dict[str, Any], list[str]]:
    kind = draw(st.sampled_from(sorted(SPECS)))
    file, valid = SPECS[kind]
    changes = draw(
        st.dictionaries(st.sampled_from([*valid, "timeouts", "retries"]) | st.text(max_size=6), _ANY, max_size=3)
    )
    content = json.dumps({**valid, **changes}).encode()
    made = st.one_of(st.just(content), st.just(content), mutate(st.just(content)), _TEXTS, _SPECIAL)
    files = {file: draw(made)}
    if kind != "pipeline.yaml" and draw(st.booleans()):
        files[file.replace("a.yaml", draw(st.sampled_from(["b.yaml", "<script>.yml", "a\nb.yaml"])))] = draw(made)
    return files, [kind]


def test_a_hostile_spec_gives_a_spec_or_one_line(fuzz: Any, mutated: Changed) -> None:
    valid = {file: json.dumps(content).encode() for file, content in SPECS.values()}
    fuzz("specs", (valid, ["models"]), _specs(mutated))
