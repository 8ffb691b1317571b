"""Hostile configs: detectron2's YAML, the files that it builds on, overrides; and specs."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

from roastery.config_defaults import DEFAULTS

Changed = Callable[[st.SearchStrategy[bytes]], st.SearchStrategy[bytes]]
Mixed = Callable[..., st.SearchStrategy[Any]]
Mostly = Callable[[Any, st.SearchStrategy[Any]], st.SearchStrategy[Any]]


def keys_of(tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        yield (*above, key), value
        if isinstance(value, Mapping):
            yield from keys_of(value, (*above, key))


ALL = dict(sorted(keys_of(DEFAULTS)))
KEYS = list(ALL)
SETTINGS = [key for key, default in ALL.items() if not isinstance(default, Mapping)]
BASE = b"MODEL:\n  MASK_ON: true\n  PIXEL_MEAN: [1, 2, 3]\nSOLVER:\n  STEPS: (1, 2)\n  BASE_LR: 0.02\n"
CONFIG = b"_BASE_: base.yaml\nMODEL:\n  FPN: &fpn\n    OUT_CHANNELS: 32\nINPUT:\n  MIN_SIZE_TEST: 0x10\nVERSION: 2\n"
VALID = {"config.yaml": CONFIG, "base.yaml": BASE}


def bomb(levels: int) -> bytes:
    """Lists that each hold the one before it eight times."""
    return b"a0: &a0 [x,x,x,x,x,x,x,x]\n" + b"".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 8)}]\n".encode() for n in range(1, levels)
    )


TEXTS = [
    *(
        bomb(40),
        bomb(12) + b"OUTPUT_DIR: *a11\nshards: *a11\n",
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
        b"shards: 0x" + b"f" * 3900,
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
_TEXTS = st.sampled_from(TEXTS)
BASES = [
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
        "~\ud800/x",
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
_BASES = st.sampled_from(BASES)
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


# Nested so far that it can be read, but perhaps not walked.
NESTED: list[Callable[[int], bytes]] = [
    lambda depth: b"DATASETS: {TEST: " + b"[" * depth + b"]" * depth + b"}",
    lambda depth: b"DATASETS: {TEST: '" + b"[" * depth + b"]" * depth + b"'}",
    lambda depth: b"OUTPUT_DIR: " + b"{a: " * depth + b"}" * depth,
    # Each list holds the one before it.
    lambda depth: b"".join(b"a%d: &a%d [%s]\n" % (n, n, b"*a%d" % (n - 1) if n else b"") for n in range(depth)),
]
_NESTED = st.builds(lambda form, depth: form(depth), st.sampled_from(NESTED), st.integers(1, 40) | st.integers(40, 600))


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


def close_to(key: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """Values of the type that detectron2's key has."""
    match default := ALL[key]:
        case bool():
            return st.booleans()
        case int():
            return st.integers(-9, 10**6)
        case float():
            return st.floats(allow_nan=False) | st.integers(-9, 10**6)
        case list() | tuple():
            return st.sampled_from([default, [*default, *default], repr(default)])
        case _:
            return st.text(max_size=12)


def settings(mixed: Mixed) -> st.SearchStrategy[Any]:
    """A key of detectron2's, or another, with a value."""
    keys = st.sampled_from(SETTINGS)
    close = keys.flatmap(lambda key: st.tuples(st.just(key), close_to(key)))
    strange = _LEAVES | _NUMBERS | st.lists(st.lists(_NUMBERS, max_size=3) | _NUMBERS | st.text(max_size=4), max_size=5)
    names = st.lists(st.text(max_size=8), min_size=1, max_size=3).map(tuple)
    return mixed((8, close), (2, st.tuples(keys, strange)), (1, st.tuples(st.sampled_from(KEYS) | names, _ANY)))


def configs(mixed: Mixed) -> st.SearchStrategy[bytes]:
    bases = st.one_of(_BASES, st.lists(_BASES, max_size=3), _ANY)
    return st.builds(
        nested,
        st.lists(settings(mixed), min_size=1, max_size=4),
        mixed((2, st.none()), (3, st.just("base.yaml")), (2, bases)),
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


def test_a_hostile_config_gives_a_config_or_one_line(fuzz: Any, mutated: Changed, mixed: Mixed, mostly: Mostly) -> None:
    contents = mixed((8, configs(mixed)), (2, _TEXTS), (1, _NESTED), (1, mutated(st.just(CONFIG))), (1, _SPECIAL))
    overrides = st.lists(settings(mixed), max_size=2).map(
        lambda pairs: [text for key, value in pairs for text in (".".join(key), str(value))]
    )
    inputs = st.builds(
        lambda config, base, told: ({**AROUND, "config.yaml": config, "base.yaml": base}, told),
        contents,
        mostly(BASE, contents),
        mixed((4, st.just([])), (2, overrides), (1, _OVERRIDES)),
    )
    known = [
        *TEXTS,
        *(nested([], base) for base in BASES),
        *(form(depth) for form in NESTED for depth in (30, 200, 400)),
    ]
    known_inputs = [({**AROUND, "config.yaml": text, "base.yaml": BASE}, []) for text in known]
    fuzz("config", (VALID, ["MODEL.DEVICE", "cpu"]), inputs, known_inputs, reads_anywhere=True)


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
_NAMES = st.sampled_from(
    [
        "b",
        "../x",
        "a/b",
        "..",
        "<script>",
        "a' or 1",
        "x" * 80,
        "x" * 81,
        "/etc/passwd",
        "~/x",
        "~nobody-at-all/x",
        "http://x",
    ]
)
SPECS = {
    "models": ("models/a.yaml", MODEL),
    "datasets": ("datasets/a.yaml", DATASET),
    "pipeline.yaml": ("pipeline.yaml", PIPELINE),
}


def specs(mutate: Changed, mixed: Mixed) -> st.SearchStrategy[tuple[dict[str, Any], list[str]]]:
    """A spec of each kind, nearly valid; of models and datasets perhaps two."""

    def contents(valid: dict[str, Any]) -> st.SearchStrategy[Any]:
        keys = st.sampled_from([*valid, "timeouts", "retries"])
        # A value of the type that stands there.
        close = st.sampled_from(sorted(valid)).flatmap(
            lambda key: st.tuples(
                st.just(key), st.text() | _NAMES if isinstance(valid[key], str) else st.just(valid[key]) | _NUMBERS
            )
        )
        change = mixed((2, close), (1, st.tuples(keys | st.text(max_size=6), _ANY)))
        content = st.lists(change, max_size=2).map(lambda changes: json.dumps({**valid, **dict(changes)}).encode())
        return mixed((8, content), (1, mutate(content)), (1, _TEXTS | _SPECIAL))

    def specs_of(kind: str) -> st.SearchStrategy[tuple[dict[str, Any], list[str]]]:
        file, valid = SPECS[kind]
        one = contents(valid).map(lambda content: ({file: content}, [kind]))
        if kind == "pipeline.yaml":
            return one
        names = st.sampled_from(["b.yaml", "<script>.yml", "a\nb.yaml"])
        two = st.builds(
            lambda content, name: ({file: json.dumps(valid).encode(), file.replace("a.yaml", name): content}, [kind]),
            contents({**valid, "name": "b"}),
            names,
        )
        return mixed((3, one), (1, two))

    return st.sampled_from(sorted(SPECS)).flatmap(specs_of)


def test_a_hostile_spec_gives_a_spec_or_one_line(fuzz: Any, mutated: Changed, mixed: Mixed) -> None:
    valid = {file: json.dumps(content).encode() for file, content in SPECS.values()}
    known = [({file: text}, [kind]) for kind, (file, _) in SPECS.items() for text in TEXTS]
    values = ["~nobody-at-all/x", "~\ud800/x", "~a\0b/x", "\0", "\ud800", "x" * 5000, [[]], {}, 2**4000, None]
    known += [
        ({file: json.dumps({**content, key: value}).encode()}, [kind])
        for kind, (file, content) in SPECS.items()
        for key in content
        for value in values
    ]
    fuzz("specs", (valid, ["models"]), specs(mutated, mixed), known)
