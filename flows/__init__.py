"""The flows that the Prefect UI shows: one model, and a fleet of them."""
