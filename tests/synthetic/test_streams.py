"""Random streams: independent by name and bucket, and with the distributions that they claim."""

import numpy as np

from recsys.synthetic.streams import Streams, pick


def test_a_stream_depends_on_seed_bucket_and_name_only() -> None:
    first = Streams(3, 1)
    first.open("other").uniform(1000)
    values = first.open("a").uniform(5)
    assert (values == Streams(3, 1).open("a").uniform(5)).all()
    for other in (Streams(4, 1).open("a"), Streams(3, 2).open("a"), Streams(3, 1).open("b")):
        assert (values != other.uniform(5)).all()


def test_a_stream_gives_the_recorded_numbers() -> None:
    assert (Streams(1, 2).open("a").uniform(4) * 1e9).astype(int).tolist() == RECORDED


def test_poisson_has_its_mean_and_variance() -> None:
    for rate in (0.05, 1.3, 20.0):
        counts = Streams(0, 0).open(f"poisson {rate}").poisson(np.full(40_000, rate))
        assert abs(counts.mean() - rate) < 5 * np.sqrt(rate / 40_000)
        assert abs(counts.var() / rate - 1) < 0.06
    assert (Streams(0, 0).open("none").poisson(np.zeros(10)) == 0).all()


def test_normal_has_its_moments() -> None:
    values = Streams(0, 0).open("normal").normal(100_000)
    assert abs(values.mean()) < 0.02 and abs(values.std() - 1) < 0.02 and abs((values**3).mean()) < 0.05


def test_pick_follows_the_weights_of_its_row() -> None:
    weights = np.array([[1.0, 0.0, 3.0], [0.0, 5.0, 0.0]])
    rows = np.repeat([0, 1], 20_000)
    found = Streams(0, 0).open("pick").pick(weights, rows)
    shares = np.bincount(found[:20_000], minlength=3) / 20_000
    assert abs(shares[0] - 0.25) < 0.02 and shares[1] == 0
    assert (found[20_000:] == 1).all()
    assert pick(weights, np.array([0, 1]), np.array([0.0, 0.999999])).tolist() == [0, 1]


RECORDED = [581383016, 958952120, 801687278, 380270550]
