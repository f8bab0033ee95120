"""A node of a local cluster of two is killed while trials run on it."""

import os
import random
import time
from typing import Any

from autosearch.core import State

from .driver import Spec
from .parts import Say, folder_of_its_own
from .watch import Watch


def lost_node(seed: int, say: Say, faults: int = 2) -> dict[str, Any]:
    """Trials of a lost node go on elsewhere, counted as preempted; a new node takes its place each time."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    moments = random.Random(seed)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        with folder_of_its_own() as folder:
            spec = Spec(str(folder / "out"), trials=16, steps=12, parallel=3, address=cluster.address)
            watch = Watch(spec)
            node = cluster.add_node(num_cpus=2)
            cluster.wait_for_nodes()
            driver = watch.start()
            for fault in range(faults):
                watch.wait_for(watch.finished() + 2, driver)
                time.sleep(moments.uniform(0, 2))
                cluster.remove_node(node, allow_graceful=False)
                watch.look()
                say(f"node {fault + 1} lost: {watch.finished()} finished")
                node = cluster.add_node(num_cpus=2)
            status, _, errors = driver.end(400)
            if status != 0:
                raise RuntimeError(f"the driver ended with {status}: {errors}")
            found = watch.verdict()
            history = watch.history()
            moved = [] if history is None else [t for t in history.by_state(State.COMPLETE) if t.attempts]
            say(f"{len(moved)} trials went on elsewhere: {[t.attempts for t in moved]}")
            right = moved and all(set(t.attempts) == {"preempted"} for t in moved)
            return {"faults": faults, **found, "passed": int(found["passed"] and bool(right))}
    finally:
        cluster.shutdown()
