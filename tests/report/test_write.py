"""A report is written the same again, and by a stage as everything else is."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Writes the report of a request whose inputs lie in a store, into a folder.
REPORT_AGAIN = """
import sys
from pathlib import Path
from roastery.stages.report import ReportRequest, run
from roastery.store import Store

request, store, folder = sys.argv[1:]
run(ReportRequest.model_validate_json(Path(request).read_text()), Store(store), Path(folder))
"""


@pytest.mark.xdist_group("report")
def test_the_same_request_gives_the_same_bytes_in_another_process_with_other_hashes(conversion, tmp_path):
    (tmp_path / "request.json").write_text(conversion.request.model_dump_json())
    again = tmp_path / "again"
    again.mkdir()
    store = conversion.folder.parents[1]

    done = subprocess.run(
        [sys.executable, "-c", REPORT_AGAIN, str(tmp_path / "request.json"), str(store), str(again)],
        cwd=ROOT,
        env={"PYTHONHASHSEED": "7", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    written = {path.name: path.read_bytes() for path in again.iterdir()}
    assert {"report.md", "report.html", "report-1.png", "report-curves-bbox.svg", "config.yaml"} <= set(written)
    for name, content in written.items():
        assert content == (conversion.folder / name).read_bytes(), name


@pytest.mark.xdist_group("report")
def test_a_report_of_a_real_conversion_names_no_place_on_the_machine(conversion):
    for name in ("report.md", "report.html", "report-curves-bbox.svg"):
        text = (conversion.folder / name).read_text()
        assert str(ROOT) not in text
        assert str(conversion.folder.parents[2]) not in text


@pytest.mark.xdist_group("report")
def test_the_reports_config_is_the_one_that_was_converted(conversion):
    from roastery.digest import file_sha256

    assert file_sha256(conversion.folder / "config.yaml") == conversion.request.resolved.config_sha256
    assert conversion.request.resolved.config_sha256 in (conversion.folder / "report.md").read_text()


def test_deciding_on_a_report_needs_nothing_heavy():
    code = (
        "import sys, roastery.stages.report, roastery.registry.catalog\n"
        "print({'torch', 'matplotlib', 'PIL', 'numpy', 'jinja2', 'mlflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


def test_the_stages_key_covers_what_a_report_looks_like():
    """The template and the style are data files of the module that names them."""
    from roastery import provenance
    from roastery.report import page

    file = Path(page.__file__)
    data = provenance._source(file).data
    assert {path.name for path in data} == {"page.html.j2", "page.css"}
