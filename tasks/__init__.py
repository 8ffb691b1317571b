"""The Prefect side of each stage, a file each: its name in the UI, its retries, its timeout, its cache."""
