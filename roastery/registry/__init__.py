"""The MLflow registry: the only room that knows it. Importing MLflow costs seconds, so it waits until it is used."""
