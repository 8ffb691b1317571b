"""How Roastery runs as a service: `prefect.yaml` for an installation with workers, `serve.py` for one machine."""
