"""Tasks: what the images are for. A task fits a network on a cohort and scores it on another."""
