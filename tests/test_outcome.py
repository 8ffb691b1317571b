"""How a run ended, left in the store for its fleet."""

from pathlib import Path

import pytest

from roastery.outcome import FOLDER, leave, take
from roastery.results import Figure, ModelSummary, TargetSummary
from roastery.store import Store

SUMMARY = ModelSummary(
    model="m",
    ended="passed",
    targets=(
        TargetSummary(
            target="caffe2",
            passed=True,
            figures=(Figure(iou_type="bbox", metric="AP", original=50.0, converted=49.5),),
            judged_by="torch",
            artifacts="/store/convert/0",
        ),
    ),
    seconds=1.5,
)


def test_what_is_left_is_taken_once(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    leave(store, "a-run", SUMMARY)
    assert take(Store(str(tmp_path)), "another-run") is None
    assert take(Store(str(tmp_path)), "a-run") == SUMMARY
    assert take(store, "a-run") is None
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_it_is_the_same_on_s3(s3: str) -> None:
    leave(Store(f"{s3}/store"), "a-run", SUMMARY)
    assert take(Store(f"{s3}/store"), "a-run") == SUMMARY
    assert take(Store(f"{s3}/store"), "a-run") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"model": "m"}'])
def test_what_is_damaged_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "a-run.json").write_bytes(content)
    assert take(Store(str(tmp_path)), "a-run") is None


def test_a_store_that_takes_nothing_is_no_trouble_of_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(str(tmp_path / "store"))
    (tmp_path / "store").mkdir(exist_ok=True)
    (tmp_path / "store" / FOLDER).write_text("in the way")
    leave(store, "a-run", SUMMARY)
    assert "m: how the run ended cannot be left in the store" in caplog.text


def test_the_difference_is_converted_minus_original_and_nothing_where_one_is_missing() -> None:
    assert SUMMARY.targets[0].figures[0].difference == -0.5
    assert Figure(iou_type="bbox", metric="AP", original=None, converted=1.0).difference is None
