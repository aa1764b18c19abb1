"""The roads between two designs of the zoo, step by step, with what their papers published."""

from keras_vitcnn.ablation.costs import Cost, costs, fit
from keras_vitcnn.ablation.road import Published, Road, Step, changed, diff
from keras_vitcnn.ablation.roads import road, roads
from keras_vitcnn.ablation.table import CostTable, as_printed, cost_table

__all__ = [
    "Cost",
    "CostTable",
    "Published",
    "Road",
    "Step",
    "as_printed",
    "changed",
    "cost_table",
    "costs",
    "diff",
    "fit",
    "road",
    "roads",
]
