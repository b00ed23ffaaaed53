from __future__ import annotations

import numpy as np
import pytest

from streamserver.geometry.tracking.kalman import BoxMotion

SEEN = np.array([False])


def test_a_steady_walk_is_learnt_and_continued() -> None:
    motion = BoxMotion.start([[0, 50, 20, 60]])
    for step in range(1, 20):
        motion.predict(unseen=SEEN)
        motion.correct(np.array([0]), [[7 * step, 50 - 2 * step, 20, 60]])
    np.testing.assert_allclose(motion.velocity[0], [7, -2, 0, 0], atol=0.1)
    for _ in range(5):
        motion.predict(unseen=~SEEN)
    np.testing.assert_allclose(motion.position[0], [7 * 24, 50 - 2 * 24, 20, 60], atol=1.5)


def test_an_unseen_box_moves_on_but_keeps_its_size() -> None:
    motion = BoxMotion.start([[0, 0, 20, 60]])
    for step in range(1, 10):
        motion.predict(unseen=SEEN)
        motion.correct(np.array([0]), [[5 * step, 0, 20 - step, 60 - 4 * step]])
    before = motion.position.copy()
    motion.predict(unseen=~SEEN)
    assert motion.position[0, 0] > before[0, 0]
    np.testing.assert_array_equal(motion.position[0, 2:], before[0, 2:])


def test_the_four_blocks_agree_with_the_full_matrices() -> None:
    """The textbook filter with 8 x 8 matrices gives the same numbers."""
    random = np.random.default_rng(4)
    measured = np.array([100, 80, 30, 90]) + np.cumsum(random.normal(0, 3, (12, 4)), axis=0)
    motion = BoxMotion.start(measured[:1])
    mean = np.concatenate((measured[0], np.zeros(4)))
    size = max(mean[2], mean[3])
    covariance = np.diag([(2 * size / 20) ** 2] * 4 + [(10 * size / 40) ** 2] * 4)
    transition = np.eye(8) + np.eye(8, k=4)
    observe = np.eye(4, 8)
    for box in measured[1:]:
        size = max(mean[2], mean[3])
        mean = transition @ mean
        noise = np.diag([(size / 20) ** 2] * 4 + [(size / 40) ** 2] * 4)
        covariance = transition @ covariance @ transition.T + noise
        measure_noise = np.eye(4) * (max(mean[2], mean[3]) / 20) ** 2
        gain = covariance @ observe.T @ np.linalg.inv(observe @ covariance @ observe.T + measure_noise)
        mean = mean + gain @ (box - observe @ mean)
        covariance = covariance - gain @ observe @ covariance
        motion.predict(unseen=SEEN)
        motion.correct(np.array([0]), [box])
    np.testing.assert_allclose(np.concatenate((motion.position[0], motion.velocity[0])), mean, rtol=1e-9)
    np.testing.assert_allclose(motion.position_variance[0], np.diag(covariance)[:4], rtol=1e-9)
    np.testing.assert_allclose(motion.velocity_variance[0], np.diag(covariance)[4:], rtol=1e-9)
    np.testing.assert_allclose(motion.covariance[0], np.diag(covariance, k=4), rtol=1e-9)


def test_rows_can_be_picked_joined_and_corrected_one_by_one() -> None:
    motion = BoxMotion.start([[0, 0, 10, 10], [50, 50, 10, 10]])
    joined = motion.select(np.array([1])).join(BoxMotion.start([[9, 9, 4, 4]]))
    assert joined.position[:, 0].tolist() == [50, 9]
    joined.correct(np.array([1]), [[19, 9, 4, 4]])
    assert joined.position[0, 0] == 50
    assert 9 < joined.position[1, 0] < 19
    assert motion.position[:, 0].tolist() == [0, 50]


def test_a_box_without_extent_gives_finite_numbers() -> None:
    motion = BoxMotion.start([[5, 5, 0, 0]])
    motion.predict(unseen=SEEN)
    motion.correct(np.array([0]), [[5, 5, 0, 0]])
    assert np.isfinite(motion.position).all()
    assert len(motion) == 1
    assert motion.position[0].tolist() == pytest.approx([5, 5, 0, 0])
