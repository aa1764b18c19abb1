"""What a model costs and what it sees."""

from keras_vitcnn.analysis.attention import (
    AttentionMap,
    attention_maps,
    gates,
    head_locality,
    mean_attention_distance,
    rollout,
)
from keras_vitcnn.analysis.complexity import Complexity, complexity
from keras_vitcnn.analysis.embeddings import Embeddings, embed
from keras_vitcnn.analysis.plots import (
    plot_attention_maps,
    plot_effective_receptive_field,
    plot_gates,
    plot_grad_cam,
    plot_head_locality,
    plot_mean_attention_distance,
    plot_rollout,
    plot_shift_consistency,
)
from keras_vitcnn.analysis.search import (
    Neighbour,
    Retrieval,
    build_index,
    check_new_index,
    describe_index,
    plot_neighbours,
    query_index,
    retrieval,
)
from keras_vitcnn.analysis.sensitivity import (
    ShiftConsistency,
    effective_receptive_field,
    grad_cam,
    shift_consistency,
)

__all__ = [
    "AttentionMap",
    "Complexity",
    "Embeddings",
    "Neighbour",
    "Retrieval",
    "ShiftConsistency",
    "attention_maps",
    "build_index",
    "check_new_index",
    "complexity",
    "describe_index",
    "effective_receptive_field",
    "embed",
    "gates",
    "grad_cam",
    "head_locality",
    "mean_attention_distance",
    "plot_attention_maps",
    "plot_effective_receptive_field",
    "plot_gates",
    "plot_grad_cam",
    "plot_head_locality",
    "plot_mean_attention_distance",
    "plot_neighbours",
    "plot_rollout",
    "plot_shift_consistency",
    "query_index",
    "retrieval",
    "rollout",
    "shift_consistency",
]
