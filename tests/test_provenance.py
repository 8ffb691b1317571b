"""Stage keys: what changes them, and what does not."""

import ast
import sys
from pathlib import Path

import pytest

from roastery import provenance
from roastery.provenance import source_digest, stage_key
from roastery.source_cache import files_sha256

INPUTS = {"weights": "a" * 64, "n": 4}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package: stage -> box -> deep, and `other`, which nothing imports."""
    root = tmp_path / "roastery"
    files = {
        "__init__.py": '"""Words."""\n__version__ = "1"\n',
        "stage.py": '"""Words."""\nfrom roastery.box.thing import make\n\n\ndef run():\n'
        '    """Words."""\n    return make()\n',
        "box/__init__.py": "",
        "box/thing.py": "def make():\n    from . import deep\n    return deep.VALUE  # words\n",
        "box/deep.py": "from pathlib import Path\nVALUE = 1\nDATA = Path(__file__).with_name('table.yaml')\n",
        "box/table.yaml": "a: 1\n",
        "other.py": "VALUE = 1\n",
        "typed.py": "X = 1\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def digest(root: Path) -> str:
    for cached in (source_digest, provenance._source, files_sha256):
        cached.cache_clear()
    return source_digest(("roastery.stage",), root)


def change(root: Path, name: str, old: str, new: str) -> bool:
    """Whether replacing text in a file changes the stage's digest."""
    before = digest(root)
    path = root / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return digest(root) != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("stage.py", "return make()", "return make() + 1"),
        ("box/thing.py", "deep.VALUE", "-deep.VALUE"),
        ("box/deep.py", "VALUE = 1", "VALUE = 2"),
        ("box/table.yaml", "a: 1", "a: 2"),
    ],
)
def test_a_changed_line_in_anything_that_the_stage_imports_changes_it(
    package: Path, name: str, old: str, new: str
) -> None:
    assert change(package, name, old, new)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("stage.py", '"""Words."""', '"""Other words, of the module and of the function."""'),
        ("box/thing.py", "# words", "# other words"),
        ("other.py", "VALUE = 1", "VALUE = 2"),
        ("__init__.py", '__version__ = "1"', '__version__ = "2"'),
    ],
)
def test_words_a_release_and_what_is_not_imported_do_not(package: Path, name: str, old: str, new: str) -> None:
    assert not change(package, name, old, new)


def test_a_file_created_in_a_package_that_is_walked_counts(package: Path) -> None:
    (package / "box" / "__init__.py").write_text("import pkgutil\nLIST = list(pkgutil.iter_modules(__path__))\n")
    before = digest(package)
    (package / "box" / "new_operator.py").write_text("VALUE = 3\n")
    assert digest(package) != before


def test_imports_for_type_checkers_do_not_count(package: Path) -> None:
    stage = package / "stage.py"
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from roastery.typed import X\n"
    stage.write_text(guarded + stage.read_text())
    assert not change(package, "typed.py", "X = 1", "X = 2")


def test_inputs_stage_and_modules_change_the_key_and_their_order_does_not() -> None:
    def key(stage: str = "trace", inputs: dict[str, object] = INPUTS, module: str = "roastery.stages.trace") -> str:
        return stage_key(stage, inputs, [module], ["numpy"])  # type: ignore[arg-type]

    assert key() == key(inputs=dict(reversed(INPUTS.items())))
    others = [key(stage="sample"), key(inputs={**INPUTS, "n": 5}), key(inputs={**INPUTS, "weights": "b" * 64})]
    others.append(key(module="roastery.stages.export_onnx"))
    assert len({key(), *others}) == 5


def test_the_version_of_a_package_that_is_used_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stage_key("trace", INPUTS, ["roastery.stages.trace"], ["torch"])
    monkeypatch.setattr(provenance, "package_version", lambda name: "0")
    assert stage_key("trace", INPUTS, ["roastery.stages.trace"], ["torch"]) != before


def test_a_nan_has_no_key() -> None:
    with pytest.raises(ValueError, match="JSON"):
        stage_key("trace", {"x": float("nan")}, [], [])


def modules_of(name: str) -> set[str]:
    """The modules whose sources a module's digest covers."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        module = waiting.pop()
        file = provenance._file_of(module, provenance._ROOT)
        if file is not None and module not in seen:
            seen.add(module)
            waiting.extend(provenance._imported(module, file, provenance._source(file)))
    return seen


def test_the_trace_stage_covers_the_detectors_and_not_the_report() -> None:
    covered = modules_of("roastery.stages.trace")
    assert {"roastery.detectors.rpn", "roastery.export.trace", "roastery.checkpoint", "roastery.config"} <= covered
    assert {"roastery.ops.batch_permutation", "roastery.ops.definition"} <= covered
    assert not {"roastery.report", "roastery.registry.catalog", "roastery.evaluation.coco"} & covered


def test_every_module_that_python_loads_for_a_stage_is_covered() -> None:
    import roastery.export.onnx
    import roastery.stages.export_onnx  # noqa: F401

    covered = modules_of("roastery.stages.export_onnx")
    needed = {"roastery.export.onnx", "roastery.export.trace", "roastery.metadata", "roastery.ops", "roastery.store"}
    assert needed <= covered
    assert needed <= set(sys.modules)


def test_a_source_is_parsed_again_where_cpython_miscounts_for_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """python/cpython#106905: SystemError of a good source, while another thread parses."""
    real, calls = ast.parse, []

    def miscounts_twice(source: bytes) -> ast.Module:
        calls.append(source)
        if len(calls) < 3:
            raise SystemError("AST constructor recursion depth mismatch (before=207, after=74)")
        return real(source)

    monkeypatch.setattr(ast, "parse", miscounts_twice)
    assert ast.dump(provenance._parse(b"x = 1")) == ast.dump(real("x = 1"))
    assert len(calls) == 3
