"""Links from MLflow back to Prefect: which run a run there came from."""

import prefect.runtime
from prefect.utilities.urls import url_for

ID_TAG = "prefect.flow_run_id"
URL_TAG = "prefect.flow_run_url"


def prefect_links() -> dict[str, str]:
    """Tags that name the flow run at hand, and its page where a server has pages; none outside of a flow run."""
    run = prefect.runtime.flow_run.id
    if not run:
        return {}
    page = url_for("flow-run", obj_id=run)
    return {ID_TAG: str(run), **({URL_TAG: page} if page else {})}
