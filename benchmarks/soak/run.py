"""The long run: faults in one study after the other, over real Ray, and what must hold after each.

    python benchmarks/soak/run.py                  # every part, once
    python benchmarks/soak/run.py kills noop       # some
    python benchmarks/soak/run.py --seed 7 --rounds 2
    python benchmarks/soak/run.py table            # the table of the README

A part that fails is said at once and fails the run (exit code 1). Each part appends one row to results.csv.
"""

import argparse
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
import common

from benchmarks.soak import cluster, database, parts

PARTS = {
    "kills": parts.kills,
    "node": cluster.lost_node,
    "postgres": database.stopped,
    "full_disk": parts.full_disk,
    "two_drivers": parts.two_drivers,
    "queued": parts.queued,
    "noop": parts.noop,
}
RESULTS = Path(__file__).with_name("results.csv")
COUNTS = (
    "faults", "trials", "complete", "lost", "twice", "over_budget", "wrong_best", "bad_checkpoints", "other_choices",
    "left_processes", "left_files",
)  # fmt: skip


def say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')}  {text}\n")
    sys.stdout.flush()


def run(part: str, seed: int, faults: int | None) -> bool:
    """Run one part and keep its row; whether it passed or could not run here."""
    say(f"{part}: seed {seed}")
    began = time.monotonic()
    options = {} if faults is None else {"faults": faults}
    try:
        found: dict[str, Any] = PARTS[part](seed, lambda text: say(f"{part}: {text}"), **options)
    except parts.SkippedError as reason:
        say(f"{part}: SKIPPED: {reason}")
        return True
    seconds = round(time.monotonic() - began)
    row = {"part": part, "seed": seed, "passed": found["passed"], **{name: found[name] for name in COUNTS}}
    row |= {"seconds": seconds, "note": found.get("note", ""), **common.origin("ray", "optuna")}
    common.append(RESULTS, [row])
    counts = ", ".join(f"{name} {found[name]}" for name in COUNTS)
    say(f"{part}: {'passed' if found['passed'] else 'FAILED'} in {seconds} s: {counts} {row['note']}")
    return bool(found["passed"])


def table() -> str:
    """Every row, newest last."""
    columns = ["part", "seed", "passed", *COUNTS, "seconds", "note"]
    rows = [[row[name] for name in columns] for row in common.read(RESULTS)]
    return common.table([name.replace("_", " ") for name in columns], rows)


def _known(word: str) -> str:
    if word not in [*PARTS, "table"]:
        raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(PARTS)}, table")
    return word


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", type=_known, metavar="PART", help=", ".join(PARTS))
    parser.add_argument(
        "--seed", type=int, help="of the moments at which faults strike; drawn and printed if left out"
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--faults", type=int, help="how many, in place of each part's own number")
    asked = parser.parse_args()
    if asked.parts == ["table"]:
        sys.stdout.write(table() + "\n")
        return 0
    # So that servers, sessions and mounts are let go of.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = secrets.randbelow(10**6) if asked.seed is None else asked.seed
    passed = True
    for round_ in range(asked.rounds):
        for part in asked.parts or PARTS:
            passed &= run(part, seed + round_, asked.faults)
    say("all passed" if passed else "FAILED, see above")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
