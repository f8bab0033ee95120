"""What a cluster looks like from each of its nodes."""

import logging
import secrets
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from autosearch.core import StudyError
from autosearch.core.records import Json

_WAIT_S = 60.0


def inspect(address: str, output: Path) -> dict[str, Json]:
    """Nodes, CPUs and GPUs of the cluster at `address`, once each node has been seen to see `output`.

    Raises:
        StudyError: if the cluster cannot be reached, or a node does not see the folder or has no autosearch.
    """
    joined = not ray.is_initialized()
    if joined:
        join(address)
    token = output / f".check-{secrets.token_hex(8)}"
    try:
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        alive = [node for node in nodes if node["Alive"]]
        output.mkdir(parents=True, exist_ok=True)
        token.touch()
        blind = [name for name, problem in _ask_each(alive, token).items() if problem]
        if blind:
            raise StudyError(
                f"--address {address}: {output} is not the same folder on {', '.join(sorted(blind))}. "
                "Checkpoints and logs go there: put `output` on a disk that every node mounts."
            )
        totals = {kind: sum(node["Resources"].get(kind, 0.0) for node in alive) for kind in ("CPU", "GPU")}
        return {"nodes": len(alive), "cpus": totals["CPU"], "gpus": totals["GPU"]}
    finally:
        token.unlink(missing_ok=True)
        if joined:
            ray.shutdown()


def join(address: str, runtime_env: dict[str, Any] | None = None) -> None:
    """Connect this process to a cluster.

    Raises:
        StudyError: if it cannot be reached.
    """
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            runtime_env=runtime_env or {},
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise StudyError(f"--address {address}: no Ray cluster can be reached: {error}") from error


def _ask_each(nodes: list[dict[str, Any]], token: Path) -> dict[str, bool]:
    """Whether each node, by name, misses the file."""
    ask = ray.remote(num_cpus=0)(_misses)
    asked = {
        node["NodeManagerHostname"] + "/" + node["NodeID"][:8]: ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(str(token))
        for node in nodes
    }
    ready, late = ray.wait(list(asked.values()), num_returns=len(asked), timeout=_WAIT_S)
    found = {name: bool(ray.get(answer)) for name, answer in asked.items() if answer in ready}
    return {**found, **{name: True for name, answer in asked.items() if answer in late}}


def _misses(path: str) -> bool:
    return not Path(path).exists()
