"""Addresses: no secret stands in one, and none is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from roastery.address import SECRET_ERROR, Address
from roastery.errors import ConfigError
from roastery.spec import PipelineConfig, over_pipeline

ADDRESSES = TypeAdapter(Address)
SECRETS = st.text("abcdefghijklmnopqrstuvwxyz0123456789._~-", min_size=12, max_size=30)
SCHEMES = st.sampled_from(["http", "https", "s3", "postgresql", "mysql+pymysql", "ftp", "gs"])


@given(SCHEMES, st.sampled_from(["", "user"]), SECRETS)
def test_a_password_in_an_address_is_refused_and_not_told(scheme: str, user: str, secret: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PipelineConfig(tracking_uri=f"{scheme}://{user}:{secret}@host/place")
    assert refused.value.errors()[0]["type"] == SECRET_ERROR
    assert secret not in str(refused.value)
    with pytest.raises(ConfigError) as told:
        over_pipeline(PipelineConfig(), {"store": f"{scheme}://{user}:{secret}@host/place"})
    assert secret not in str(told.value)
    assert "\n" not in str(told.value)


@given(
    SCHEMES, st.sampled_from(["token", "X-Amz-Signature", "access_key", "PASSWORD", "sig", "client_secret"]), SECRETS
)
def test_a_secret_in_a_query_is_refused_and_not_told(scheme: str, name: str, secret: str) -> None:
    with pytest.raises(ConfigError) as told:
        over_pipeline(PipelineConfig(), {"store": f"{scheme}://host/place?a=1&{name}={secret}"})
    assert "holds a secret" in str(told.value)
    assert secret not in str(told.value)


@pytest.mark.parametrize(
    "address",
    [
        *("s3://bucket/models", "http://127.0.0.1:5000", "sqlite:///.roastery/mlflow.db", "postgresql://user@host/db"),
        *("/srv/a:b@c/store", "store?key=1", "C:\\store", "http://host/?page=2", "model://[", ".roastery/store"),
    ],
)
def test_an_address_without_a_secret_stays_as_it_is(address: str) -> None:
    assert ADDRESSES.validate_python(address) == address
