"""Whether the Prefect API that the settings name answers."""

from httpx import HTTPError
from packaging.version import Version
from prefect.client.base import ServerType
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import get_current_settings, temporary_settings

from roastery.address import masked
from roastery.doctor.finding import Finding, State

_NAME = "Prefect API"
_SECONDS = 10.0


def look_at_prefect() -> Finding:
    """The API by PREFECT_API_URL or the profile, and its version; none is named, and `roastery run` starts its own."""
    address = get_current_settings().api.url
    if address is None:
        return Finding(_NAME, "ok", "none is named: `roastery run` starts its own for as long as it runs")
    shown = masked(address)
    try:
        # It would try again for half a minute.
        with (
            temporary_settings({"client.max_retries": 0}),
            get_client(sync_client=True, httpx_settings={"timeout": _SECONDS}) as client,
        ):
            failure = client.api_healthcheck()
            if failure is None:
                return _of_version(client, shown)
    except (HTTPError, RuntimeError, ValueError) as error:
        failure = error
    said = str(failure).strip().splitlines()
    return Finding(
        _NAME,
        "wrong",
        f"{shown} does not answer: {said[0][:200] if said else type(failure).__name__}",
        "start it (`roastery up`), correct PREFECT_API_URL or the profile, or name none",
    )


def _of_version(client: SyncPrefectClient, shown: str) -> Finding:
    """What Prefect holds of a server's version: another major one is refused, an older one is warned of.

    Source: Prefect 3.9, client/orchestration, `raise_for_api_version_mismatch`.
    """
    if client.server_type == ServerType.CLOUD:
        return Finding(_NAME, "ok", f"{shown}: Prefect Cloud")
    own, served = Version(client.client_version()), Version(str(client.api_version()))
    found = f"{shown}: Prefect {served}"
    if served.major == own.major and served >= own:
        return Finding(_NAME, "ok", found)
    state: State = "warning" if served.major == own.major else "wrong"
    return Finding(_NAME, state, f"{found}, and here is {own}", f"let the server have Prefect {own}")
