"""RoBoT: architectures found by training-free metrics that are combined anew for each task."""
