"""What the docs show of the registry is there: their snippets run, their tables name every tag and metric."""

import hashlib
import re
import shutil
from pathlib import Path

import mlflow
import pytest

from roastery.registry.catalog import Catalog
from roastery.registry.logged_model import MODEL_ID_TAG, SOURCE_VERSION_TAG
from roastery.registry.record import REEVALUATED_TAG, REEVALUATION_TAG, REMEASURED_TAG, metrics, version_tags

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "query-the-registry.md").read_text(encoding="utf-8")
MODEL = "street_signs"
CHECKPOINT = b"weights"
# MLflow keeps one connection for each address in a process, and a relative one means another file in each test.
STORE = "sqlite:///{}/.roastery/mlflow.db"


def first_column(title: str) -> str:
    """The first column of the table with this heading."""
    rows = re.findall(rf"^\| {title} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert len(rows) == 1
    return "\n".join(row.split(" | ")[0] for row in rows[0].splitlines())


@pytest.fixture
def filed(empty_database, make_conversion, files, report, golden, tmp_path, monkeypatch):
    """A working directory whose `.roastery/mlflow.db` holds a conversion of real nets, as the page supposes."""
    monkeypatch.chdir(tmp_path)
    Path(".roastery").mkdir()
    shutil.copy(empty_database, ".roastery/mlflow.db")
    Path("model_final.pth").write_bytes(CHECKPOINT)
    nets = next(iter(sorted(golden.glob("*/model.pb")))).parent
    real = {name: nets / name for name in ("model.pb", "model_init.pb")}
    conversion = make_conversion(name=MODEL)
    resolved = conversion.resolved.model_copy(update={"source_sha256": hashlib.sha256(CHECKPOINT).hexdigest()})
    conversion = conversion.model_copy(update={"resolved": resolved})
    yield Catalog(STORE.format(tmp_path)).log(conversion, files | real, report)
    mlflow.set_tracking_uri(None)


def test_the_snippets_of_the_page_run_one_after_another(filed, tmp_path, capsys):
    page = PAGE.replace("sqlite:///.roastery/mlflow.db", STORE.format(tmp_path))
    snippets = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(snippets) > 5
    known = {}

    for snippet in snippets:
        exec(snippet, known)

    name, digest = f"{MODEL}.caffe2", hashlib.sha256(CHECKPOINT).hexdigest()
    assert capsys.readouterr().out.splitlines()[:-2] == [
        f"{MODEL} 1 -0.0125",
        "('candidate',)",
        f"{name} 1",
        "passed",
        "torch",
        "-0.0125",
        "62.4725 62.46",
        f"{name} 1",
        f"{name} 1",
        f"{name} -0.0125",
        f"{MODEL} -0.0125",
        "{'candidate': 1}",
    ]
    assert known["conversion"].resolved.source_sha256 == digest
    assert int(known["version"].version) == filed.version
    assert [run.info.run_id for run in known["runs"]] == [filed.run_id]
    assert (Path(known["folder"]) / "model_init.pb").is_file()


def test_the_page_names_every_tag_and_every_kind_of_metric(make_conversion):
    conversion = make_conversion()
    tags = set(re.findall(r"`([\w.]+)`", first_column("Tag")))
    assert tags == {
        *version_tags(conversion),
        REEVALUATED_TAG,
        REEVALUATION_TAG,
        REMEASURED_TAG,
        MODEL_ID_TAG,
        SOURCE_VERSION_TAG,
    }
    named = {name.split("/")[0] for name in re.findall(r"`([\w/-]+)`", first_column("Metric"))}
    assert named >= {name.split("/")[0] for name in metrics(conversion)}
