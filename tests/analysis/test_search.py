"""The index finds what a search by hand finds; recall and precision of rankings known by hand."""

import numpy as np
import pytest

from keras_vitcnn.analysis import (
    Embeddings,
    build_index,
    describe_index,
    plot_neighbours,
    query_index,
    retrieval,
)

pytestmark = pytest.mark.backend_independent
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(1100, 6)).astype("float32") * RNG.uniform(0.1, 9, (1100, 1))
EMBEDDINGS = Embeddings(tuple(f"{n}.jpg" for n in range(1100)), VECTORS.astype("float32"))


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_neighbours_are_those_of_a_search_by_hand(metric, tmp_path):
    pytest.importorskip("pymilvus")
    build_index(EMBEDDINGS, tmp_path / "a.db", metric=metric, about={"model": "ViT"})
    assert [file.name for file in tmp_path.iterdir()] == ["a.db"]
    queries = RNG.normal(size=(3, 6))
    found = query_index(tmp_path / "a.db", queries, k=4)
    for query, neighbours in zip(queries, found, strict=True):
        distances = ((VECTORS - query) ** 2).sum(axis=1)
        if metric == "cosine":
            norms = np.linalg.norm(VECTORS, axis=1) * np.linalg.norm(query)
            distances = -(VECTORS @ query) / norms
        order = distances.argsort()[:4]
        assert [one.name for one in neighbours] == [f"{n}.jpg" for n in order]
        expected = -distances[order] if metric == "cosine" else distances[order]
        np.testing.assert_allclose([one.score for one in neighbours], expected, rtol=1e-4)
    about = {"model": "ViT", "metric": metric, "dimension": 6, "images": 1100}
    assert describe_index(tmp_path / "a.db") == about


def test_indexes_that_are_not_there_or_do_not_fit(tmp_path):
    pytest.importorskip("pymilvus")
    file = tmp_path / "a.db"
    with pytest.raises(ValueError, match="no such index"):
        query_index(file, VECTORS[:1])
    with pytest.raises(ValueError, match=r"ends in \.db"):
        build_index(EMBEDDINGS, tmp_path / "index")
    build_index(EMBEDDINGS, file)
    with pytest.raises(ValueError, match=r"there already.*Received: uri="):
        build_index(EMBEDDINGS, file)
    with pytest.raises(ValueError, match=r"holds vectors of 6 numbers.*vectors of 5 numbers"):
        query_index(file, VECTORS[:1, :5])
    with pytest.raises(ValueError, match=r"no collection of that name.*Received: collection='x'"):
        query_index(file, VECTORS[:1], collection="x")
    with pytest.raises(ValueError, match="Received: metric='dot'"):
        build_index(EMBEDDINGS, tmp_path / "b.db", metric="dot")
    with pytest.raises(OSError, match=r"can't be reached.*Received: uri='http://127.0.0.1:1'"):
        query_index("http://127.0.0.1:1", VECTORS[:1])


def test_an_index_whose_building_failed_is_not_there(tmp_path):
    pytest.importorskip("pymilvus")
    broken = Embeddings(EMBEDDINGS.names[:1050], VECTORS.astype("float32"))
    with pytest.raises(IndexError):
        build_index(broken, tmp_path / "a.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_retrieval_by_hand(metric):
    """On a line (or an arc): a at 0 and 2, b at 1, 7 and 8; a lonely class at 5 is no query."""
    places = np.array([0, 1, 2, 5, 7, 8])
    vectors = np.stack([places, np.zeros(6)], axis=1)
    if metric == "cosine":
        lengths = np.array([[2], [1], [3], [2], [1], [3]])
        vectors = np.stack([np.cos(places / 9), np.sin(places / 9)], axis=1) * lengths
    found = retrieval(vectors, [0, 1, 0, 9, 1, 1], (1, 2, 5), metric)
    assert found.queries == 5
    # Each a finds the b between them first. The b at 1 finds both a, the lonely one, the other b;
    # the b at 7 and 8 find each other first and the b at 1 fourth.
    assert found.recall == {1: 2 / 5, 2: 4 / 5, 5: 1.0}
    first, second = 1 / 2, ((1 / 4 + 2 / 5) / 2 + 2 * (1 + 2 / 4) / 2) / 3
    np.testing.assert_allclose([found.average_precision[n] for n in (0, 1)], [first, second])
    assert found.mean_average_precision == pytest.approx((first + second) / 2)


def test_retrieval_of_random_vectors_is_chance():
    labels = np.arange(1100) % 10
    found = retrieval(RNG.normal(size=(1100, 16)), labels, (1,))
    assert found.recall[1] == pytest.approx(0.1, abs=0.04)
    assert found.mean_average_precision == pytest.approx(0.1, abs=0.02)
    perfect = retrieval(np.eye(10)[labels], labels, (1,))
    assert (perfect.recall[1], perfect.mean_average_precision) == (1, 1)


def test_what_can_not_be_judged():
    with pytest.raises(ValueError, match="2 vectors, 3 labels"):
        retrieval(np.zeros((2, 3)), [0, 1, 1])
    with pytest.raises(ValueError, match="No class has two images"):
        retrieval(np.zeros((3, 3)), [0, 1, 2])


def test_pictures_side_by_side():
    images = RNG.integers(0, 256, (6, 8, 8, 3), "uint8")
    found = {"ViT": [images[:2], images[2:4]], "ResNet": [images[1:3], images[3:5]]}
    axes = plot_neighbours(images[4:], found).axes
    assert len(axes) == 4 * 3
    assert [axes[row * 3].get_ylabel() for row in range(4)] == ["ViT", "ResNet", "ViT", "ResNet"]
    np.testing.assert_array_equal(axes[3 * 3 + 2].images[0].get_array(), images[4])
