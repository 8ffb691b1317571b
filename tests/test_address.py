"""Addresses: no secret stands in one, and none is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from roastery.address import SECRET_ERROR, Address, masked
from roastery.errors import ConfigError
from roastery.spec import PipelineConfig, over_pipeline

ADDRESSES = TypeAdapter(Address)
SECRETS = st.text("abcdefghijklmnopqrstuvwxyz0123456789._~-", min_size=12, max_size=30)
# What SQLAlchemy takes for a password, which no well-formed URL holds as it is.
ODD_SECRETS = st.builds(lambda one, odd, two: one + odd + two, SECRETS, st.sampled_from("/?#[]:@%&;= "), SECRETS)
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


@given(st.sampled_from(["postgresql", "postgresql+psycopg2", "mysql", "mssql", "https", "s3"]), ODD_SECRETS)
def test_a_password_that_breaks_its_url_is_refused_and_not_told(scheme: str, secret: str) -> None:
    with pytest.raises(ConfigError, match="holds a password") as told:
        over_pipeline(PipelineConfig(), {"tracking_uri": f"{scheme}://user:{secret}x@host/place"})
    assert secret not in str(told.value)
    assert secret[:12] not in str(told.value)


@pytest.mark.parametrize("secret", ["5432", "5432/db", "5432?a=1", "12345678"])
def test_a_databases_password_may_look_like_a_port(secret: str) -> None:
    from sqlalchemy.engine import make_url

    address = f"postgresql://user:{secret}@host/db"
    assert make_url(address).password == secret
    with pytest.raises(ValidationError, match="holds a password"):
        PipelineConfig(tracking_uri=address)


@given(
    SCHEMES, st.sampled_from(["token", "X-Amz-Signature", "access_key", "PASSWORD", "sig", "client_secret"]), SECRETS
)
def test_a_secret_in_a_query_is_refused_and_not_told(scheme: str, name: str, secret: str) -> None:
    with pytest.raises(ConfigError) as told:
        over_pipeline(PipelineConfig(), {"store": f"{scheme}://host/place?a=1&{name}={secret}"})
    assert "holds a secret" in str(told.value)
    assert secret not in str(told.value)


@pytest.mark.parametrize("address", ["s3://b/p?a=1;{}", "http://h/p#{}", "s3://b[/p?{}", "simplecache::s3://b/p?{}"])
@pytest.mark.parametrize("named", ["token=planted", "a%74oken=planted", "api%5Fkey=planted"])
def test_it_is_found_wherever_a_client_could_find_it(address: str, named: str) -> None:
    with pytest.raises(ConfigError, match="holds a secret") as told:
        over_pipeline(PipelineConfig(), {"store": address.format(named)})
    assert "planted" not in str(told.value)


@pytest.mark.parametrize(
    "address",
    [
        *("s3://bucket/models", "http://127.0.0.1:5000", "sqlite:///.roastery/mlflow.db", "postgresql://user@host/db"),
        *("/srv/a:b@c/store", "store?key=1", "C:\\store", "http://host/?page=2", "model://[", ".roastery/store"),
        *("http://host:5000/a@b", "http://[::1]:5000/a@b", "s3://bucket/a:b@c", "https://user@host:5000/place"),
    ],
)
def test_an_address_without_a_secret_stays_as_it_is(address: str) -> None:
    assert ADDRESSES.validate_python(address) == address


@given(SCHEMES, st.sampled_from(["", "user", "token"]), st.one_of(SECRETS, ODD_SECRETS), SECRETS)
def test_an_address_is_told_without_its_user_and_its_secrets(scheme: str, user: str, one: str, other: str) -> None:
    told = masked(f"{scheme}://{user}:{one}@host/place?page=2&X-Amz-Signature={other}&a%74oken={other}#x")
    assert told == f"{scheme}://***@host/place?page=2&X-Amz-Signature=***&a%74oken=***#x"
    assert masked(f"{scheme}://{other}@host/place") == f"{scheme}://***@host/place"


@pytest.mark.parametrize(
    "address", ["http://host:5000/a@b", "s3://bucket/a:b@c?page=2", "http://[::1]:5000/a", "a.pkl"]
)
def test_an_address_without_a_secret_is_told_as_it_is(address: str) -> None:
    assert masked(address) == address
