"""A reporter as the settings want it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streamserver.business.receiver import Receiver
from streamserver.business.reporter import Reporter
from streamserver.business.slots import Slots
from streamserver.core.counters import DeliveryCounts
from streamserver.core.outgoing import Policy
from streamserver.core.secrets import register_secret
from streamserver.core.settings import Settings
from streamserver.core.urls import masked
from streamserver.outbox.box import Outbox
from streamserver.sinks.file import FileSink
from streamserver.sinks.http import HttpSink

RECEIVERS_DIR = "receivers"
"""The files of ``slots``, relative to the state folder."""


def make_reporter(
    outbox: Outbox,
    *,
    report_urls: Sequence[str],
    task_id: str,
    settings: Settings,
    counts: DeliveryCounts | None = None,
) -> Reporter:
    """A reporter, not yet started.

    Args:
        outbox: of the task; it stays open until the reporter has stopped.
        report_urls: where alarms go; without any, a local copy in ``event_dir`` is all.
        task_id: for the reports' header.
        settings: time limits, ``report_concurrency``, ``report_secret``, ``event_dir``.
        counts: where POSTs are counted.

    Raises:
        ConfigError: an address is no http or https address.
    """
    register_secret(settings.report_secret)
    archive = FileSink(Path(settings.event_dir).expanduser().absolute()) if settings.event_dir else None
    receivers = [_receiver(url, task_id, settings) for url in dict.fromkeys(report_urls)]
    return Reporter(outbox, receivers, archive, counts=counts)


def readdress(reporter: Reporter, *, report_urls: Sequence[str], task_id: str, settings: Settings) -> None:
    """Sends a reporter's alarms to other addresses from now on; those that stay keep what is known of them.

    Raises:
        ConfigError: an address is no http or https address; nothing changes.
    """
    known = {receiver.key: receiver for receiver in reporter.receivers}
    urls = dict.fromkeys(report_urls)
    if list(urls) != list(known):
        reporter.readdress([known.get(url) or _receiver(url, task_id, settings) for url in urls])


def _receiver(url: str, task_id: str, settings: Settings) -> Receiver:
    policy = Policy.from_settings(settings)

    def make() -> HttpSink:
        return HttpSink(
            url,
            task_id=task_id,
            connect_timeout_s=settings.report_connect_timeout_s,
            total_timeout_s=settings.report_timeout_s,
            policy=policy,
            secret=settings.report_secret,
        )

    make()  # an address that cannot be used is told now, not with the first alarm
    slots = Slots(settings.state_path / RECEIVERS_DIR, url, settings.report_concurrency)
    return Receiver(masked(url), make, key=url, slots=slots)
