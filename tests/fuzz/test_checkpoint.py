"""Hostile checkpoints: pickles, torch's two formats, safetensors."""

import contextlib
import io
import itertools
import json
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors.torch import save

STATE = {"conv.weight": torch.arange(12.0).reshape(3, 4), "bias": torch.zeros(2)}
ARRAYS = {name: value.numpy() for name, value in STATE.items()}


def torch_file(**options: Any) -> bytes:
    file = io.BytesIO()
    torch.save({"model": STATE, "iteration": 3}, file, **options)
    return file.getvalue()


PICKLES = [pickle.dumps({"model": ARRAYS, "__author__": "fuzz"}, protocol=protocol) for protocol in range(6)]
BLOBS = {"cls_score_w": ARRAYS["conv.weight"], "res2_0_branch1_bn_s": ARRAYS["bias"]}
PICKLES.append(pickle.dumps({"blobs": BLOBS, "cfg": "x"}, protocol=2))
ZIP, LEGACY = torch_file(), torch_file(_use_new_zipfile_serialization=False)
SAFE = save(STATE)

Changed = Callable[[st.SearchStrategy[bytes]], st.SearchStrategy[bytes]]
Mixed = Callable[..., st.SearchStrategy[Any]]
Mostly = Callable[[Any, st.SearchStrategy[Any]], st.SearchStrategy[Any]]


def named(name: str, contents: st.SearchStrategy[bytes]) -> st.SearchStrategy[Any]:
    return contents.map(lambda content: ({name: content}, [name]))


# Pickles, put together from instructions


def counted(opcode: bytes, form: str, claimed: int, content: bytes) -> bytes:
    return opcode + struct.pack(form, claimed) + content


NAMES = [
    *("os system", "posix system", "builtins eval", "builtins exec", "builtins getattr", "builtins bytearray"),
    *("subprocess Popen", "nt system", "torch load", "torch.serialization load", "_codecs encode", "numpy dtype"),
    *("numpy ndarray", "numpy._core.multiarray _reconstruct", "numpy.core.multiarray scalar", "collections Counter"),
    *("numpy._core.numeric _frombuffer", "collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch Size"),
    *("torch._utils _rebuild_parameter", "torch._utils _rebuild_sparse_tensor", "torch FloatStorage", "builtins set"),
    *("torch._utils _rebuild_meta_tensor_no_storage", "torch.storage UntypedStorage", "torch.nn.parameter Parameter"),
    *("torch._utils _rebuild_qtensor", "torch._tensor _rebuild_from_type_v2", "builtins complex", "builtins slice"),
    *("torch._utils _rebuild_parameter_with_state", "builtins range", "operator repeat", "itertools repeat"),
    *("__main__ x", "antigravity x", "../../x y", "numpy f2py", "numpy.testing._private.utils runstring"),
]
_simple = [bytes([ord(opcode.code)]) for opcode in pickletools.opcodes if opcode.arg is None]
_piece = st.binary(max_size=9)
_number = st.one_of(st.integers(-3, 40), st.sampled_from([2**31 - 1, -(2**31)]))
_claimed = st.sampled_from([0, 1, 7, 255, 2**16, 2**31 - 1])
_COLLIDING = (
    b"}(" + b"".join(b"\x8a\x0a" + (n * (2**61 - 1)).to_bytes(10, "little") + b"N" for n in range(50_000)) + b"u"
)


def exploding(depth: int) -> bytes:
    """Lists that each hold the one before it eight times."""
    lists = (b"]q" + bytes([n]) + b"(" + bytes([0x68, n - 1]) * 8 + b"e" for n in range(1, depth + 1))
    return b"]q\x00" + b"".join(lists)


# What crashed torch's reader, or took it minutes and gigabytes: a key that is nested without end, keys whose hashes are
# the same, a large bytearray; and more of the kind.
LARGE = [
    b"})" + b"\x85" * 1_000_000 + b"Ns",
    _COLLIDING,
    b"cbuiltins\nbytearray\n\x8a\x05\0\0\0\0\x01\x85R",
    *(b"]" * 3000, b"(" * 5000, b")" + b"\x85" * 3000, b"}q\x00h\x00h\x00s", b"]q\x00(h\x00h\x00e"),
    exploding(40),
    b"\x8b" + struct.pack("<i", 20000) + b"\x7f" * 20000,
    b"I" + b"9" * 5000 + b"\n",
]
INSTRUCTIONS = st.one_of(
    st.sampled_from(_simple),
    st.sampled_from(NAMES).map(lambda name: b"c" + name.replace(" ", "\n").encode() + b"\n"),
    st.sampled_from(NAMES).map(lambda name: b"i" + name.replace(" ", "\n").encode() + b"\n"),
    st.sampled_from(NAMES).map(
        lambda name: b"".join(b"X" + struct.pack("<I", len(n)) + n.encode() for n in name.split(" ")) + b"\x93"
    ),
    st.integers(0, 255).map(lambda index: bytes([0x71, index])),
    st.integers(0, 5).map(lambda index: bytes([0x68, index])),
    _number.map(lambda number: b"J" + struct.pack("<i", number)),
    st.builds(counted, st.just(b"X"), st.just("<I"), _claimed, _piece),
    st.builds(counted, st.just(b"B"), st.just("<I"), _claimed, _piece),
    st.builds(counted, st.just(b"T"), st.just("<i"), _claimed | st.just(-1), _piece),
    st.builds(counted, st.just(b"\x8b"), st.just("<i"), _claimed | st.just(-5), _piece),
    st.builds(
        counted,
        st.sampled_from([b"\x8e", b"\x8d", b"\x96", b"\x95"]),
        st.just("<Q"),
        st.sampled_from([0, 8, 2**40, 2**62, 2**64 - 1]),
        _piece,
    ),
    st.binary(max_size=40).map(lambda content: b"C" + bytes([len(content)]) + content),
    st.sampled_from(["f4", "i8", "O", "V4", "b1", "model", "w", "<", "latin1"]).map(
        lambda text: b"X" + struct.pack("<I", len(text)) + text.encode()
    ),
    st.sampled_from(
        [
            b"S'a'\n",
            b"I1\n",
            b"I01\n",
            b"L5L\n",
            b"F1.5\n",
            b"Fnan\n",
            b"V\\ud800\n",
            b"Ia\n",
        ]
    ),
    st.sampled_from(LARGE),
    st.integers(1, 40).map(exploding),
    # A large number.
    st.integers(1, 20000).map(lambda size: b"\x8b" + struct.pack("<i", size) + b"\x7f" * size),
)
# Each name called with a text and with a number, and each large thing as a value, as a key and in the place of a name.
ATTACKS = [
    *(
        b"}X\x01\0\0\0wc%s\n%s\x85Rs" % (name.replace(" ", "\n").encode(), given)
        for name in NAMES
        for given in (b"X\x09\0\0\0touch ran", b"\x8a\x05\0\0\0\0\x01")
    ),
    *(b"}X\x01\0\0\0w%ss" % large for large in LARGE),
    *(b"}%sNs" % large for large in LARGE),
    *(b"%sX\x01\0\0\0x\x93" % large for large in LARGE),
    *(large for large in LARGE),
]
ATTACKS = [b"\x80\x02" + attack + b"." for attack in ATTACKS]
PROGRAMS = st.lists(INSTRUCTIONS, max_size=25).map(lambda pieces: b"\x80\x04" + b"".join(pieces) + b".")


def instructions(content: bytes) -> list[bytes]:
    """The pickles at the start of `content` taken apart; what follows them is the last piece."""
    file = io.BytesIO(content)
    starts = []
    with contextlib.suppress(ValueError):
        while True:
            place = file.tell()
            starts += [place + start for _, _, start in pickletools.genops(file) if start is not None]
    return [content[start:end] for start, end in itertools.pairwise([*starts, file.tell(), len(content)])]


def woven(content: bytes, changes: Sequence[tuple[str, float, bytes]]) -> bytes:
    """The content with other instructions among its own."""
    pieces = instructions(content)
    for kind, share, instruction in changes:
        place = int(share * len(pieces))
        pieces[place : place + (kind != "insert")] = [instruction] if kind != "drop" else []
    return b"".join(pieces)


_CHANGES = st.lists(
    st.tuples(st.sampled_from(["insert", "replace", "drop"]), st.floats(0, 1, exclude_max=True), INSTRUCTIONS),
    min_size=1,
    max_size=2,
)


def array_pickle(name: str, code: str, shape: Sequence[Any], state: Sequence[Any], raw: Any) -> bytes:
    """A pickle of {"w": array} whose array's parts are whatever is given."""
    parts = [pickle.dumps(part, 2)[2:-1] for part in (code, tuple(shape), tuple(state), raw)]
    dtype = b"cnumpy\ndtype\n" + parts[0] + b"K\x00K\x01\x87R" + parts[2] + b"b"
    start = b"c" + name.replace(" ", "\n").encode() + b"\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    return b"\x80\x02}X\x01\x00\x00\x00w" + start + b"(K\x01" + parts[1] + dtype + b"\x89" + parts[3] + b"tbs."


_EXTENTS = [-1, 2**31, 2**62, 2**63, 2**64, 2**70000, True, None, 1.5, "3", ()]
SOUND_ARRAY = {
    "name": "numpy.core.multiarray _reconstruct",
    "code": "f4",
    "shape": [2],
    "state": [3, "<", None, None, None, -1, -1, 0],
    "raw": b"\0" * 8,
}
HOSTILE_ARRAY: dict[str, list[Any]] = {
    "name": NAMES,
    "code": ["i4", "f8", "b1", "O8", "V8", "U4", "f4,i4", "", 4, None, [[]], {}],
    "shape": [
        *([extent] for extent in _EXTENTS),
        *([0, extent] for extent in _EXTENTS),
        *([], [1], [3], [1, 2], [2, 1, 1], [2**62, 4], [2**63 // 4], [1] * 31 + [2], [1] * 32 + [2], [1] * 89 + [2]),
    ],
    "state": [[3, ">", None, None, None], [3, "|", None, ["a"], {"a": 1}], [3, None, None, None, None], [], [3, "<"]],
    "raw": [b"", b"\0", b"\0" * 64, "t" * 8, "\u0100" * 8, None, 4, [1.0] * 8],
}


def array_pickles(mostly: Mostly) -> st.SearchStrategy[bytes]:
    return st.builds(
        array_pickle,
        **{key: mostly(sound, st.sampled_from(HOSTILE_ARRAY[key])) for key, sound in SOUND_ARRAY.items()},
    )


def test_a_hostile_pickle_gives_tensors_or_one_line(fuzz: Any, mutated: Changed, mixed: Mixed, mostly: Mostly) -> None:
    valid = st.sampled_from(PICKLES)
    changed = st.builds(woven, valid, _CHANGES)
    hostile = mixed((2, array_pickles(mostly)), (2, changed), (1, mutated(valid)), (1, PROGRAMS))
    arrays = [array_pickle(**{**SOUND_ARRAY, key: part}) for key, parts in HOSTILE_ARRAY.items() for part in parts]
    known = [({"a.pkl": attack}, ["a.pkl"]) for attack in [*ATTACKS, *arrays]]
    fuzz("checkpoint", ({"a.pkl": PICKLES[4]}, ["a.pkl"]), named("a.pkl", hostile), known)


# Torch's formats


def archive(pickled: bytes, others: Sequence[tuple[str, bytes]], compressed: bool) -> bytes:
    """The valid archive with another `data.pkl`, and with more in it."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(ZIP)) as old,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if compressed else 0) as new,
    ):
        for member in old.infolist():
            new.writestr(member.filename, pickled if member.filename.endswith("data.pkl") else old.read(member))
        for name, content in others:
            new.writestr(name, content)
    return file.getvalue()


with zipfile.ZipFile(io.BytesIO(ZIP)) as _archive:
    DATA = _archive.read(next(name for name in _archive.namelist() if name.endswith("data.pkl")))

_member_name = st.sampled_from(
    [
        "../../ran",
        "/tmp/ran",
        "archive/data/0",
        "archive/../../ran",
        "archive/byteorder",
        "archive/code/x.py",
        "a\\b",
        "é" * 99,
    ]
)
# What torch is asked to make of a storage: sizes, strides and offsets that do not fit it.
WANTED = [2**62, -1, 0, 1, 2, 2**31, 10**9]
FITTING = (3, 1, 0, 12)


def forged(size: int, stride: int, offset: int, count: int, end: bytes = b"") -> bytes:
    """A `data.pkl` with one tensor of that size on a storage that claims `count` numbers; `end` ends its identity."""
    number = {n: pickle.dumps(n, 2)[2:-1] for n in (size, stride, offset, count)}
    storage = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        + number[count]
        + end
        + b"tQ"
    )
    view = (
        b"("
        + storage
        + number[offset]
        + number[size]
        + b"\x85"
        + number[stride]
        + b"\x85\x89ccollections\nOrderedDict\n)Rt"
    )
    return b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n" + view + b"Rs."


# One of the four does not fit.
FORGED = [(*FITTING[:place], wanted, *FITTING[place + 1 :]) for place in range(len(FITTING)) for wanted in WANTED]


def forgeries(mostly: Mostly, end: bytes = b"") -> st.SearchStrategy[bytes]:
    parts = (mostly(sound, st.sampled_from(WANTED)) for sound in FITTING)
    return st.builds(forged, *parts, st.just(end))


def test_a_hostile_torch_archive_gives_tensors_or_one_line(
    fuzz: Any, mutated: Changed, mixed: Mixed, mostly: Mostly
) -> None:
    changed = st.builds(woven, st.just(DATA), _CHANGES)
    pickled = mixed(
        (1, st.just(DATA)),
        (3, changed),
        (1, mutated(st.just(DATA))),
        (2, forgeries(mostly)),
        (1, st.sampled_from(ATTACKS) | PROGRAMS),
    )
    others = st.lists(st.tuples(_member_name, st.just(b"\0" * 100000) | st.binary(max_size=99)), min_size=1, max_size=2)
    archives = st.builds(archive, pickled, mostly([], others), mostly(False, st.just(True)))
    hostile = mixed((4, archives), (1, mutated(st.just(ZIP))))
    pickles = [*ATTACKS, *(forged(*parts) for parts in FORGED)]
    known = [({"a.pth": archive(content, [], False)}, ["a.pth"]) for content in pickles]
    fuzz("checkpoint", ({"a.pth": ZIP}, ["a.pth"]), named("a.pth", hostile), known)


def test_a_hostile_older_torch_file_gives_tensors_or_one_line(
    fuzz: Any, mutated: Changed, mixed: Mixed, mostly: Mostly
) -> None:
    # Magic number, protocol and machine, then the object, the storages' names and their numbers, as
    # torch/serialization.py (`_legacy_load`) reads them.
    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    tail = pickle.dumps(["0"], 2) + struct.pack("<q12f", 12, *[0.5] * 12)
    programs = mixed((1, PROGRAMS), (1, st.sampled_from(ATTACKS)), (3, forgeries(mostly, b"N"))).map(
        lambda pickled: head + pickled + tail
    )
    changed = st.builds(woven, st.just(LEGACY), _CHANGES)
    hostile = mixed((2, programs), (2, changed), (1, mutated(st.just(LEGACY))))
    pickles = [*ATTACKS, *(forged(*parts, b"N") for parts in FORGED)]
    known = [({"a.pth": head + content + tail}, ["a.pth"]) for content in pickles]
    fuzz("checkpoint", ({"a.pth": LEGACY}, ["a.pth"]), named("a.pth", hostile), known)


# Safetensors


def safetensors_file(header: Any, length: int | None, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


_dtype = st.sampled_from(
    [
        *("F32", "F16", "BF16", "F64", "I64", "I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3"),
        *("C64", "U64", "x", 3),
    ]
)
_shapes = st.lists(st.integers(0, 4) | st.sampled_from([-1, 2**31, 2**62, 2**64, 1.5, "2"]), max_size=3)
_names = st.sampled_from(["__metadata__", "../x", "a\nb", "\ud800", "\0"]) | st.text(max_size=5)


def entries(mostly: Mostly) -> st.SearchStrategy[Any]:
    """Of eight bytes."""
    return st.fixed_dictionaries(
        {
            "dtype": mostly("F32", _dtype),
            "shape": mostly([2], _shapes | st.sampled_from([[2, 1], [1] * 69 + [2], [8], [0, 2**62]])),
            "data_offsets": mostly(
                [0, 8], st.lists(st.sampled_from([0, 4, 8, 16, 64, -1, 2**62, 2**64]), min_size=2, max_size=2)
            ),
        }
    )


def test_a_hostile_safetensors_file_gives_tensors_or_one_line(
    fuzz: Any, mutated: Changed, mixed: Mixed, mostly: Mostly
) -> None:
    texts = st.sampled_from([b"[" * 5000, b'{"a":' * 5000, b"{}", b"null", b'{"__metadata__":{"a":1}}', b"\xff"])
    headers = st.builds(
        lambda name, entry, more: {name: entry, **more},
        mostly("w", _names),
        entries(mostly),
        mostly({}, st.dictionaries(_names, entries(mostly), min_size=1, max_size=2)),
    )
    made = st.builds(
        safetensors_file,
        mostly(None, texts).flatmap(lambda text: headers if text is None else st.just(text)),
        mostly(None, st.sampled_from([0, 1, 2**31, 2**62, 2**64 - 1])),
        mostly(b"\0" * 8, st.binary(max_size=64)),
    )
    name = "a.safetensors"
    hostile = mixed((4, made), (1, mutated(st.just(SAFE))))
    fuzz("checkpoint", ({name: SAFE}, [name]), named(name, hostile))


# What is no file


def test_a_checkpoint_that_is_no_plain_file_is_refused(fuzz: Any) -> None:
    names = st.sampled_from(["a.pkl", "a.pth", "a.safetensors"])
    special = st.sampled_from(
        [
            ("pipe", ""),
            ("folder", ""),
            *(
                ("link", to)
                for to in (
                    "sound.pkl",
                    "/dev/zero",
                    "../outside/pipe",
                    "/dev/full",
                    "a.pkl",
                    "/proc/self/mem",
                    "/nowhere",
                    "/dev/tty",
                )
            ),
        ]
    )
    digest = st.sampled_from([[], ["0" * 64]])
    made = st.builds(
        lambda name, what, told: ({name: what, "sound.pkl": PICKLES[2]}, [name, *told]), names, special, digest
    )
    paths = st.builds(
        lambda name, told: ({"a.pkl": PICKLES[2]}, [name, *told]),
        st.text(max_size=20).map(lambda text: f"{text}.pkl")
        | st.sampled_from(["a" * 300 + ".pkl", "a/" * 5000 + "x.pth", "\0.pkl", "a.pkl/b.pkl", "\ud800.pth"]),
        digest,
    )
    fuzz("checkpoint", ({"a.pkl": PICKLES[4]}, ["a.pkl"]), made | paths)
