"""``/metrics`` for Prometheus: the supervisor's sums, the states of the store, and the requests of this process.

The label ``task`` is a TaskID and lives as long as its task; every other label is of a closed set: ``core.counters``
has them, ``algorithm`` is a name of config_algorithm.py, ``model`` a file's name, ``endpoint`` a route of this server.
"""

from __future__ import annotations

import platform
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from itertools import accumulate
from typing import Any

from flask import Blueprint, Flask, Response, current_app, g, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from streamserver import __version__
from streamserver.core import counters
from streamserver.core.counters import Histogram
from streamserver.core.errors import SampleError, StreamServerError
from streamserver.core.states import ALIVE, TaskState
from streamserver.web import services
from streamserver.web.health import problems
from streamserver.web.services import Services
from streamserver.web.sums import number, read_sums, waiting

blueprint = Blueprint("metrics", __name__)

CACHE_S = 1.0
"""Whoever asks sooner gets the same answer again: several scrapers cost as much as one."""

METHODS = ("GET", "POST", "HEAD", "OPTIONS")
"""Methods that are told apart; all others are ``other``."""

_EXTENSION = "streamserver.metrics"
_MOST_STATUSES = 600
_RUNTIMES = ("onnxruntime-gpu", "onnxruntime")


class RequestTimes:
    """How long requests took until their answer began, by route, method and status; thread-safe."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str, str], Histogram] = {}

    def observe(self, endpoint: str, method: str, status: int, duration_s: float) -> None:
        """Counts one request; ``endpoint`` is a route's pattern, or ``other`` for what is none."""
        method = method if method in METHODS else "other"
        key = (endpoint, method, str(status if 0 < status < _MOST_STATUSES else 0))
        times = self._times.get(key) or self._times.setdefault(key, Histogram(counters.REQUEST_BOUNDS_S))
        times.observe(duration_s)

    def told(self) -> list[tuple[tuple[str, str, str], list[float]]]:
        """Labels and histogram of each."""
        return [(key, times.told()) for key, times in self._times.copy().items()]


class Page:
    """The text of ``/metrics``: one is made at a time, and kept for ``CACHE_S``.

    Args:
        clock: monotonic, in seconds.

    Attributes:
        requests: what this process answered.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.requests = RequestTimes()
        self._clock = clock
        self._lock = threading.Lock()
        self._text = b""
        self._made_at = float("-inf")

    def text(self, at_hand: Services) -> bytes:
        """The text, at most ``CACHE_S`` old."""
        with self._lock:
            if self._clock() - self._made_at >= CACHE_S:
                registry = CollectorRegistry(auto_describe=False)
                registry.register(_Collected(list(families(at_hand, self.requests))))
                self._text = generate_latest(registry)
                self._made_at = self._clock()
            return self._text


class _Collected:
    """What prometheus_client asks for metrics: they were collected already."""

    def __init__(self, found: Sequence[Metric]) -> None:
        self._found = found

    def collect(self) -> Sequence[Metric]:
        return self._found


def register(app: Flask) -> None:
    """Measures the requests of ``app``, to be called before all else that hooks into them."""
    page = app.extensions[_EXTENSION] = Page()

    @app.before_request
    def begin() -> None:
        g.began_at = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        endpoint = request.url_rule.rule if request.url_rule is not None else "other"
        duration_s = time.perf_counter() - g.get("began_at", time.perf_counter())
        page.requests.observe(endpoint, request.method, response.status_code, duration_s)
        return response


@blueprint.get("/metrics")
def show() -> Response:
    """Everything, in Prometheus' text format."""
    page: Page = current_app.extensions[_EXTENSION]
    return Response(page.text(services.current()), content_type=CONTENT_TYPE_LATEST)


def families(at_hand: Services, requests: RequestTimes) -> Iterator[Metric]:
    """All metrics of the server, with their samples."""
    sums = read_sums(at_hand.settings.state_path)
    wrong = problems(at_hand)
    yield _build()
    ready = GaugeMetricFamily("streamserver_ready", "1 while this check of /readyz is well.", labels=["check"])
    for check, reason in wrong.items():
        ready.add_metric([check], float(not reason))
    yield ready
    try:
        rows = at_hand.store.states()
    except StreamServerError:
        rows = None  # the check "store" says so; a store that is away has no numbers, not zero tasks
    if rows is not None:
        yield _states(Counter(state for _, state in rows))
        yield from _of_tasks(sums.get("tasks"), rows, _names(at_hand))
    yield from _of_all(sums)
    duration = HistogramMetricFamily(
        "streamserver_http_request_duration_seconds",
        "Time from the head of a request to the beginning of its answer, since the web process began.",
        labels=["endpoint", "method", "status"],
    )
    for labels, told in requests.told():
        _add(duration, labels, counters.REQUEST_BOUNDS_S, told)
    yield duration


def _build() -> Metric:
    build = GaugeMetricFamily(
        "streamserver_build_info", "Always 1; what runs.", labels=["version", "python", "onnxruntime"]
    )
    build.add_metric([__version__, platform.python_version(), _runtime_version()], 1)
    return build


def _runtime_version() -> str:
    for name in _RUNTIMES:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""


def _states(found: Mapping[str, int]) -> Metric:
    states = GaugeMetricFamily("streamserver_tasks", "Tasks by state, as in /task/list.", labels=["state"])
    for state in TaskState:
        states.add_metric([state.value], found.get(state.value, 0))
    return states


def _names(at_hand: Services) -> Mapping[str, str]:
    try:
        return {str(number): name for number, name in at_hand.known_types().items()}
    except SampleError:
        return {}


def _of_tasks(tasks: Any, rows: Sequence[tuple[str, str]], names: Mapping[str, str]) -> Iterator[Metric]:
    """The metrics with the label ``task``, of the tasks that there are."""
    frames = CounterMetricFamily(
        "streamserver_frames", "Frames of a task: processed, dropped (too busy), broken.", labels=["task", "result"]
    )
    reconnects = CounterMetricFamily(
        "streamserver_stream_reconnects",
        "Times a live stream gave pictures again, by why the connection before was lost.",
        labels=["task", "reason"],
    )
    age = GaugeMetricFamily(
        "streamserver_last_frame_age_seconds",
        "Time since the last picture of a task that is to run, or since it was accepted.",
        labels=["task"],
    )
    alarms = CounterMetricFamily(
        "streamserver_alarms", "Alarms that a task's algorithms have raised.", labels=["task", "algorithm"]
    )
    alive = {state.value for state in ALIVE}
    now = time.time()
    for task_id, state in rows:
        found = tasks.get(task_id) if isinstance(tasks, dict) else None
        if not isinstance(found, list) or len(found) != 4:
            continue
        label = label_of(task_id)
        for result in counters.FRAME_RESULTS:
            frames.add_metric([label, result], number(found[0].get(result)))
        for reason in counters.RECONNECT_REASONS:
            reconnects.add_metric([label, reason], number(found[1].get(reason)))
        raised: Counter[str] = Counter()  # two numbers may be the same algorithm, and a series must not come twice
        for kind, count in found[2].items():
            raised[names.get(kind, kind)] += int(number(count))
        for name, count in raised.items():
            alarms.add_metric([label, name], count)
        if state in alive:
            age.add_metric([label], max(0.0, now - number(found[3])))
    yield from (frames, reconnects, age, alarms)


def _of_all(sums: Mapping[str, Any]) -> Iterator[Metric]:
    """The metrics of no single task; all words of the closed sets are there from the first scrape on."""
    restarts = CounterMetricFamily(
        "streamserver_process_restarts", "Processes that were started anew.", labels=["role", "reason"]
    )
    found = _counts(sums, "restarts")
    for role, reason in _restart_words():
        restarts.add_metric([role, reason], found.get(f"{role} {reason}", 0))
    yield restarts
    inference = HistogramMetricFamily(
        "streamserver_inference_duration_seconds", "Time of one run of a model.", labels=["model", "device"]
    )
    for name, told in sorted(dict(sums.get("inference") or {}).items()):
        model, _, device = name.partition("\t")
        _add(inference, (label_of(model), device), counters.INFERENCE_BOUNDS_S, told)
    yield inference
    yield _worded("delivery_attempts", "POSTs of alarms, by how they ended.", "outcome", sums, "attempts")
    delay = HistogramMetricFamily("streamserver_delivery_delay_seconds", "Time from an alarm to its delivery.")
    _add(delay, (), counters.DELAY_BOUNDS_S, sums.get("delays") or [0] * (len(counters.DELAY_BOUNDS_S) + 2))
    yield delay
    pending, oldest_age_s = waiting(sums)
    yield GaugeMetricFamily("streamserver_outbox_pending", "Alarms that wait for a receiver.", pending)
    yield GaugeMetricFamily(
        "streamserver_outbox_oldest_age_seconds", "Time for which the oldest of them has; 0 for none.", oldest_age_s
    )
    yield _worded("alarms_dropped", "Alarms given up, or refused by every receiver.", "reason", sums, "dropped")


_WORDS: Mapping[str, Sequence[str]] = {"attempts": counters.ATTEMPT_OUTCOMES, "dropped": counters.DROP_REASONS}


def _worded(name: str, text: str, label: str, sums: Mapping[str, Any], key: str) -> Metric:
    family = CounterMetricFamily(f"streamserver_{name}", text, labels=[label])
    found = _counts(sums, key)
    for word in _WORDS[key]:
        family.add_metric([word], found.get(word, 0))
    return family


def _restart_words() -> Iterator[tuple[str, str]]:
    """Who may be started anew for what."""
    yield "supervisor", "started"
    yield from (("courier", reason) for reason in ("crashed", "killed"))
    reasons = [reason for reason in counters.RESTART_REASONS if reason != "started"]
    yield from ((role, reason) for role in ("engine", "client") for reason in reasons)


def _counts(sums: Mapping[str, Any], key: str) -> dict[str, float]:
    found = sums.get(key)
    return {word: number(count) for word, count in found.items()} if isinstance(found, dict) else {}


def _add(family: HistogramMetricFamily, labels: Sequence[str], bounds: Sequence[float], told: Sequence[float]) -> None:
    """Adds a histogram of ``core.counters``; one of another version, with other buckets, is left out."""
    if len(told) != len(bounds) + 2:
        return
    *counts, total = map(number, told)
    names = [*map(str, bounds), "+Inf"]
    family.add_metric(list(labels), list(zip(names, accumulate(counts), strict=True)), total)


def label_of(text: str) -> str:
    """A text as the value of a label: what is no Unicode (half a surrogate pair) is written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
