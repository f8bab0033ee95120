"""Networks of the architecture spaces, built from one of their architectures.

Each is called as `(shape, outputs, *, architecture, …)` with the shape of one example and the mapping that the space
places under `architecture`; all can be traced by `torch.fx`.
"""
