from __future__ import annotations

from streamserver.media.backoff import backoff_s


def test_backoff_grows_to_half_a_minute_and_never_hammers() -> None:
    for away_s, longest in [(0, 1.0), (8, 1.0), (20, 2.5), (80, 10.0), (240, 30.0), (1e6, 30.0)]:
        waits = [backoff_s(away_s) for _ in range(200)]
        assert 0.1 <= min(waits) <= max(waits) <= longest
        assert max(waits) > 0.7 * longest
