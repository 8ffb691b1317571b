"""Images and datasets: what a model is fed, and what it is measured on."""
