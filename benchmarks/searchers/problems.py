"""The problems by name: those of `quick`, then what `full` adds."""

import functions
import models
import tables
from problem import Problem

QUICK = {problem.name: problem for problem in (*functions.QUICK, *models.QUICK)}
PROBLEMS: dict[str, Problem] = QUICK | {
    problem.name: problem for problem in (*functions.MORE, *models.MORE, *tables.MORE)
}
