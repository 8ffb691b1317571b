"""Secrets out of Prefect's blocks."""

import os

import pytest

from roastery.errors import ConfigError
from roastery.spec import PipelineConfig

pytestmark = pytest.mark.xdist_group("flows")
VARIABLE = "MLFLOW_TRACKING_PASSWORD"


def test_a_secret_comes_from_its_block_unless_the_environment_has_it(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.blocks.system import Secret

    from flows.secrets import load_secrets

    Secret(value="planted-in-block").save("a-block", overwrite=True)
    pipeline = PipelineConfig(secrets={VARIABLE: "a-block"})
    monkeypatch.setenv(VARIABLE, "set-here")
    load_secrets(pipeline)
    assert os.environ[VARIABLE] == "set-here"
    monkeypatch.delenv(VARIABLE)
    load_secrets(pipeline)
    assert os.environ[VARIABLE] == "planted-in-block"


def test_a_block_that_is_not_there_or_holds_no_text_is_one_line(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.blocks.system import Secret

    from flows.secrets import load_secrets

    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=f"secrets: {VARIABLE}: Prefect has no Secret block 'nowhere'; make it, or"):
        load_secrets(PipelineConfig(secrets={VARIABLE: "nowhere"}))
    Secret(value={"planted": "planted"}).save("no-text", overwrite=True)
    with pytest.raises(ConfigError, match="the Secret block 'no-text' holds no text") as told:
        load_secrets(PipelineConfig(secrets={VARIABLE: "no-text"}))
    assert "planted" not in str(told.value)
    assert VARIABLE not in os.environ
