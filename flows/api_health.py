"""Whether the Prefect API that the settings name answers."""

from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings, temporary_settings

from roastery.address import masked
from roastery.doctor.finding import Finding

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
            version = "" if failure else client.api_version()
    except (HTTPError, RuntimeError, ValueError) as error:
        failure = error
    if failure is None:
        return Finding(_NAME, "ok", f"{shown}: Prefect {str(version)[:40]}")
    said = str(failure).strip().splitlines()
    return Finding(
        _NAME,
        "wrong",
        f"{shown} does not answer: {said[0][:200] if said else type(failure).__name__}",
        "start it (`roastery up`), correct PREFECT_API_URL or the profile, or name none",
    )
