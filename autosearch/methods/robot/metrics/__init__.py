"""Training-free metrics of networks: pure functions, and `score`, which shares passes between them."""

from autosearch.methods.robot.metrics.errors import UndefinedMetric
from autosearch.methods.robot.metrics.pooling import rank_average, rank_log_sum, ranks
from autosearch.methods.robot.metrics.registry import METRICS, PAPER_METRICS, Metric
from autosearch.methods.robot.metrics.scoring import Scores, score

__all__ = [
    "METRICS",
    "PAPER_METRICS",
    "Metric",
    "Scores",
    "UndefinedMetric",
    "rank_average",
    "rank_log_sum",
    "ranks",
    "score",
]
