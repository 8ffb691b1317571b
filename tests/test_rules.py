"""Rules of the sources that no linter knows."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_no_test_outside_of_golden_and_no_source_names_a_golden_model(golden: Path) -> None:
    names = [re.escape(file.parent.name) for file in sorted(golden.glob("*/model.pb"))]
    assert len(names) > 1
    # A module may be called as detectron2's own of that architecture is: `detectors.NAME`, NAME.py.
    named = re.compile(rf"(?<!\.)({'|'.join(names)})(?!\.py)".encode())
    folders = [ROOT / name for name in ("tests", "roastery", "tasks", "flows")]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    files = [file for file in files if not file.is_relative_to(golden) and "__pycache__" not in file.parts]
    assert all(any(file.is_relative_to(folder) for file in files) for folder in folders)

    knowing = [
        f"{file.relative_to(ROOT)}:{number}: {line.decode(errors='replace').strip()}"
        for file in files
        for number, line in enumerate(file.read_bytes().splitlines(), 1)
        if named.search(line)
    ]

    assert knowing == []
