"""The keys of a study file: what each is called, means and defaults to. Reading and the JSON schema share them."""

from autosearch.core.settings import Keep, Resources, Retries
from autosearch.spec.values import Key, Number, NumberOr, OneOf, StudyName, Text

FORMS = ("task", "function", "optuna", "command")
DIRECTIONS = OneOf(("minimize", "maximize"))
RUNNER = "ray"

TOP: dict[str, str] = {
    "study": "Name of the study, unique within its storage.",
    "seed": "Same seed, one worker, same machine: same configurations.",
    "run": "What a trial executes: one of task, function, optuna, command.",
    "objectives": "Metric -> minimize or maximize, one or several.",
    "constraints": "Outcome constraints over metrics, such as params <= 200000.",
    "space": "Parameter -> definition, or the name or path of a shipped space.",
    "require": "Input constraints between parameters, such as width * layers <= 1024.",
    "searcher": "Who suggests: NAME or {method: NAME, ...options}.",
    "scheduler": "Who stops and pauses on the fidelity: NAME or {method: NAME, min, max, ...}.",
    "training": "Methods that act inside a trial; for task only.",
    "finally": "A last stage that goes on from the winner: {task: NAME, ...arguments}.",
    "budget": "Any of trials, minutes, cost; the first that is spent ends the study.",
    "resources": "What a trial and the study run on.",
    "limits": "What a trial may take.",
    "retries": "Attempts more after a failure, by cause.",
    "keep": "What stays on disk.",
    "loggers": "Any of the loggers that are installed.",
    "data_dir": "Folder of datasets; $AUTOSEARCH_DATA if left out.",
    "storage": "Journal file or RDB URL; OUTPUT/study.journal if left out.",
    "output": "Folder of the study; results/STUDY if left out.",
}
LAST = {
    "task": "Name of the task, such as prune; what the winner gives is left out of its arguments.",
    "objectives": "As at the top; those of the study if left out.",
    "constraints": "As at the top.",
    "space": "Arguments to search, as at the top; nothing if left out.",
    "require": "As at the top.",
    "searcher": "As at the top.",
    "budget": "As at the top, beside the study's own; one trial if left out.",
}
REQUIRED = ("study", "run", "objectives", "space", "budget")

STUDY = Key("study", StudyName(), "", TOP["study"])
SEED = Key("seed", Number(low=0, whole=True), 0, TOP["seed"])
PATHS = tuple(Key(name, Text(), None, TOP[name]) for name in ("data_dir", "storage", "output"))
BUDGET = (
    Key("trials", Number(low=1, whole=True), None, "Trials of the study."),
    Key("minutes", Number(above=0), None, "Running time of the study in minutes."),
    Key("cost", Number(above=0), None, "Money, by resources.price_per_hour."),
)
RESOURCES = (
    Key("cpus", Number(above=0), Resources().cpus, "CPU cores of one trial."),
    Key("gpus", Number(low=0), Resources().gpus, "GPUs of one trial; a share such as 0.5 is allowed."),
    Key("price_per_hour", Number(low=0), None, "Price of one running trial per hour."),
    Key("parallel", NumberOr(Number(low=1, whole=True), "auto"), None, "Trials at once; auto is what fits."),
    Key("runner", Text(), RUNNER, "What runs the trials: ray or inline."),
)
LIMITS = (
    Key("minutes", Number(above=0), None, "Minutes of one attempt."),
    Key("memory_gb", Number(above=0), None, "Memory of one trial in GB."),
)
RETRIES = tuple(
    Key(cause, Number(low=0, whole=True), getattr(Retries(), cause), f"Attempts more after {cause}.")
    for cause in ("crash", "oom", "preempted")
)
KEEP = (
    Key(
        "checkpoints",
        Number(low=0, whole=True),
        Keep().checkpoints,
        "Checkpoints of the best N and of the front.",
    ),
    Key("logs", OneOf(("errors", "all")), Keep().logs, "Logs of failed trials, or of all."),
)
SECTIONS = {"budget": BUDGET, "resources": RESOURCES, "limits": LIMITS, "retries": RETRIES, "keep": KEEP}
