"""Images in: scikit-learn's digits, folders, tensorflow-datasets; batches out, for any backend."""

from keras_vitcnn.data.batches import EvalBatches, TrainBatches, augment
from keras_vitcnn.data.datasets import ImageData, Split, load
from keras_vitcnn.data.images import LazyImages, decode
from keras_vitcnn.data.split import stratified, train_val_split

__all__ = [
    "EvalBatches",
    "ImageData",
    "LazyImages",
    "Split",
    "TrainBatches",
    "augment",
    "decode",
    "load",
    "stratified",
    "train_val_split",
]
