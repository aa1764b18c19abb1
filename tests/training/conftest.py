import pytest

from keras_vitcnn.training import runner
from tests.training.tiny import register


@pytest.fixture
def tiny_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """TinyResNet and TinyViT as if they were models of the zoo, and short measurements."""
    register(monkeypatch.setitem)
    monkeypatch.setattr(runner, "INFERENCE_SECONDS", 0.05)
