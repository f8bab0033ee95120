"""A call that hands progress out, turned into a generator that yields it."""

import contextvars
import queue
import threading
from collections.abc import Callable, Generator
from typing import Any

from autosearch.core import Decision, Job, Progress

Drive = Callable[[Job, Callable[[Progress], Decision]], Progress | None]


def as_generator(drive: Drive, job: Job) -> Generator[Progress, Decision, Progress | None]:
    """The generator whose progress is what `drive` reports, and whose return value is what it returns.

    `drive` runs in a thread of its own that waits whenever the generator does. Closing the generator answers the
    report that it waits in with STOP and lets it come to its end.
    """
    told: queue.SimpleQueue[Progress | None] = queue.SimpleQueue()
    answers: queue.SimpleQueue[Decision] = queue.SimpleQueue()
    outcome: dict[str, Any] = {}
    over = False

    def report(progress: Progress) -> Decision:
        if over:
            return Decision.STOP  # it went on after it was told to end
        told.put(progress)
        return answers.get()

    def body() -> None:
        try:
            outcome["result"] = drive(job, report)
        except BaseException as error:  # noqa: BLE001 - raised again in the runner's thread
            outcome["error"] = error
        told.put(None)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(body,), name=f"trial {job.number}", daemon=True)
    thread.start()
    try:
        while (progress := told.get()) is not None:
            answers.put((yield progress))
    finally:
        over = True
        answers.put(Decision.STOP)
        thread.join()
    if "error" in outcome:
        raise outcome["error"]
    result: Progress | None = outcome["result"]
    return result
