"""The filesystem under a store: what a user can mend is one line that says how, and what may pass is told from it."""

import socket
from pathlib import Path
from typing import Any

import pytest

from roastery.errors import StoreRefused, StoreUnavailable, UserError
from roastery.filesystem import create, listed, open_filesystem, overwrite, read
from roastery.store import Store

KEY = "0" * 64


def build(store: Store) -> None:
    with store.build("trace", KEY) as build:
        (build.directory / "a.txt").write_text("hello")


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')}/folder"
    (tmp_path / "folder").mkdir()
    return str(tmp_path / "folder")


def test_a_file_that_is_there_is_not_created_again(url: str) -> None:
    filesystem, root = open_filesystem(url)
    create(filesystem, f"{root}/a", b"first")
    create(filesystem, f"{root}/a", b"second")
    assert read(filesystem, f"{root}/a") == b"first"
    overwrite(filesystem, f"{root}/a", b"third")
    assert read(filesystem, f"{root}/a") == b"third"


def test_what_is_not_there_is_said_to_be_missing(url: str) -> None:
    filesystem, root = open_filesystem(url)
    assert listed(filesystem, f"{root}/nothing") == {}
    with pytest.raises(FileNotFoundError):
        read(filesystem, f"{root}/nothing")


def test_a_listing_tells_of_those_files_that_begin_so_and_how_large_they_are(url: str) -> None:
    filesystem, root = open_filesystem(url)
    for name in ("a.1", "a.2", "b.1"):
        create(filesystem, f"{root}/{name}", name.encode())
    assert {name: info["size"] for name, info in listed(filesystem, root, "a.").items()} == {"a.1": 3, "a.2": 3}
    assert set(listed(filesystem, root)) == {"a.1", "a.2", "b.1"}


def test_what_lies_deeper_is_no_part_of_a_listing(s3: str) -> None:
    filesystem, root = open_filesystem(f"{s3}/folder")
    for name in ("a", "b/a", "b/c"):
        create(filesystem, f"{root}/{name}", name.encode())
    assert {name: info["size"] for name, info in listed(filesystem, root).items()} == {"a": 1}


def test_an_unknown_scheme_is_the_users_error() -> None:
    with pytest.raises(UserError, match="name a folder or an fsspec URL"):
        open_filesystem("nowhere://x")


def test_unknown_credentials_are_one_line(s3: str, s3_gate: Any, tmp_path: Path) -> None:
    s3_gate.stop("GET", "", "InvalidAccessKeyId", times=100)
    with pytest.raises(
        StoreRefused, match=r"^s3://.*: The AWS Access Key Id you provided does not exist in our records;"
    ):
        Store(s3, cache=tmp_path).find("trace", KEY)


def test_no_credentials_are_one_line_that_says_what_to_set(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreRefused, match=r"^s3://\S+: .*credentials; set AWS_ACCESS_KEY_ID"):
        Store(s3, cache=tmp_path).find("trace", KEY)


@pytest.mark.parametrize("bucket", ["no-such-bucket", "no_such bucket"])
def test_a_bucket_that_is_not_there_is_one_line_and_is_not_made(
    s3: str, tmp_path: Path, bucket: str, s3_gate: Any
) -> None:
    store = Store(f"s3://{bucket}/prefix", cache=tmp_path)
    with pytest.raises(UserError, match=r"^s3://[^\n]+; create the bucket or name another store$") as caught:
        build(store)
    assert not isinstance(caught.value, StoreRefused)
    assert [path for method, path, _, _ in s3_gate.asked if method == "PUT" and path.strip("/") == bucket] == []


def test_an_endpoint_that_is_down_may_be_asked_again(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:
        # Nobody listens there, and nobody else can.
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(StoreUnavailable, match="did not answer: Could not connect to the endpoint"):
            Store(s3, cache=tmp_path).find("trace", KEY)
