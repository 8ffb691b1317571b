"""Make the work pools and the automation of `prefect.yaml` on the Prefect server: `python -m deployments.install`.

May be run again: what is there is brought to what stands in the file. `prefect deploy --all` does the deployments.
"""

from prefect.automations import AutomationCore
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists
from pydantic import TypeAdapter
from rich.console import Console

from deployments.definitions import Definitions, WorkPool, read_definitions


def install(definitions: Definitions, client: SyncPrefectClient) -> list[str]:
    """Make them; gives a line for each."""
    said = [_make_pool(client, name, pool) for name, pool in definitions.work_pools.items()]
    return said + make_automations(definitions, client)


def make_automations(definitions: Definitions, client: SyncPrefectClient) -> list[str]:
    """Make the automations, or bring those of their names to what they should be; gives a line for each."""
    said = []
    for content in definitions.automations:
        automation = TypeAdapter(AutomationCore).validate_python(content)
        there = client.read_automations_by_name(automation.name)
        if there:
            client.update_automation(there[0].id, automation)
        else:
            client.create_automation(automation)
        said.append(f"automation {automation.name}: {'up to date' if there else 'made'}")
    return said


def _make_pool(client: SyncPrefectClient, name: str, pool: WorkPool) -> str:
    try:
        client.create_work_pool(
            WorkPoolCreate(
                name=name, type="process", description=pool.description, concurrency_limit=pool.concurrency_limit
            )
        )
    except ObjectAlreadyExists:
        client.update_work_pool(name, WorkPoolUpdate(description=pool.description))
        # Whoever runs it knows best how much its machines take.
        return f"work pool {name}: there; its limit stays as it is"
    return f"work pool {name}: made, {pool.concurrency_limit} runs at a time"


def main() -> None:
    console = Console()
    with get_client(sync_client=True) as client:
        for line in install(read_definitions(), client):
            console.print(line, markup=False)
    console.print("now: prefect --no-prompt deploy --all --prefect-file deployments/prefect.yaml", markup=False)


if __name__ == "__main__":
    main()
