"""Names that somebody else chose: a spec lets through what is safe wherever it goes, and refuses all else in a line."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from roastery.errors import ConfigError
from roastery.spec import load_datasets, load_models, load_pipeline

HOSTILE = [
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "~root",
        "-rf",
        "a/b",
        "a\\b",
        "a b/..",
        "a\n",
        "a\nb",
        "\na",
        "a\0",
    ),
    *("<script>alert(1)</script>", "a' OR ''='", 'a"b', "a`b", "$(touch ran)", "%2e%2e%2f", "a;b", "a:b", "a?b", "a#b"),
    *(
        "\u202egnp.a",
        "a\u0000b",
        "\ufeffa",
        "é",
        "\uff41",
        "a\u0301",
        "\u0661",
        "x" * 81,
        "x" * 5000,
        "",
        " ",
        "{{ 7 * 7 }}",
        "a|b",
    ),
]
# Of the characters that mean something somewhere, and of all others.
NAMES = st.text(st.sampled_from("ab1._-/\\ \n\0<>'\"`$;:%&?#|~\u202e\u0301é{}") | st.characters(), max_size=12)

MODEL = {"name": "a", "config": "c.yaml", "weights": "w.pkl", "dataset": "d"}
DATASET = {"name": "d", "images": "images", "annotations": "a.json"}
PLACES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a model": (load_models, MODEL, "name"),
    "a model's dataset": (load_models, MODEL, "dataset"),
    "a dataset": (load_datasets, DATASET, "name"),
    "an experiment": (load_pipeline, {}, "experiment"),
}


def loaded(folder: Path, place: str, name: str) -> str | None:
    """The name as the spec has it; None where it was refused, in one line that can be printed."""
    load, content, key = PLACES[place]
    path = folder / "a.yaml"
    path.write_text(yaml.safe_dump({**content, key: name}))
    try:
        specs = load(path if load is load_pipeline else folder)
    except ConfigError as error:
        refusal = str(error)
    else:
        spec = specs if load is load_pipeline else next(iter(specs.values()))
        return str(getattr(spec, key))
    assert refusal.isprintable()
    return None


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_refused(tmp_path: Path, place: str, name: str) -> None:
    assert loaded(tmp_path, place, name) is None


@pytest.mark.parametrize("place", PLACES)
def test_a_name_that_is_let_through_is_safe_in_paths_pages_and_filters(
    tmp_path_factory: pytest.TempPathFactory, place: str
) -> None:
    folder = tmp_path_factory.mktemp("names")
    seen = {"refused": 0, "let through": 0}

    @settings(max_examples=200)
    @given(NAMES)
    @example("mask_rcnn-R50.v2")
    def check(name: str) -> None:
        found = loaded(folder, place, name)
        seen["refused" if found is None else "let through"] += 1
        if found is not None:
            assert found == name
            assert (folder / "store" / name).resolve().parent == folder / "store"
            assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_. -]*", name)

    check()
    assert min(seen.values()) > 0
