"""The engine process: the graphs in threads, the main thread for signals and the heartbeat."""

from __future__ import annotations

import functools
import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from streamserver.core import exitcodes
from streamserver.core.errors import (
    ConfigError,
    GraphError,
    ModelError,
    ModelNotFoundError,
    SourceMissingError,
    StreamServerError,
)
from streamserver.core.processes import Sweeper
from streamserver.core.settings import Settings
from streamserver.engine.runner import STOP_TIMEOUT_S, Runner
from streamserver.worker.heartbeat import Heartbeat
from streamserver.worker.prepare import build_runner, reread
from streamserver.worker.preview import PreviewServer
from streamserver.worker.studio import Studio
from streamserver.worker.updates import Updates

logger = logging.getLogger(__name__)

_TICK_S = 0.1
_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (GraphError, exitcodes.BAD_GRAPH),
    (ConfigError, exitcodes.USAGE),
    (ModelNotFoundError, exitcodes.MODEL_MISSING),
    (ModelError, exitcodes.MODEL_MISSING),
    (SourceMissingError, exitcodes.SOURCE_MISSING),
)


def exit_code_for(error: BaseException | None) -> int:
    """What the supervisor is told about the way the process ended."""
    if error is None:
        return exitcodes.FINISHED
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), exitcodes.CRASHED)


@dataclass(frozen=True, slots=True)
class Ending:
    """How the engine ended.

    Attributes:
        exit_code: one of ``core.exitcodes``.
        signal_number: the signal that asked it to end; 0 if it ended by itself.
        left_behind: threads that did not end in time, so the process has to be ended by force.
    """

    exit_code: int
    signal_number: int = 0
    left_behind: tuple[str, ...] = ()


class App:
    """Runs one demo file.

    Args:
        demo_path: the demo file.
        settings: the server's settings.
        base_dir: what relative paths in the files are relative to.
        heartbeat: where the status goes.
        task_dir: the task's folder, for the preview socket; ``None`` for no preview.
    """

    def __init__(
        self,
        demo_path: Path,
        *,
        settings: Settings,
        base_dir: Path,
        heartbeat: Heartbeat,
        task_dir: Path | None = None,
    ) -> None:
        self._demo_path = demo_path
        self._settings = settings
        self._base_dir = base_dir
        self._heartbeat = heartbeat
        self._task_dir = task_dir
        self._updates = Updates(task_dir)
        self._runner: Runner | None = None
        self._studio: Studio | None = None
        self._failure: Exception | None = None
        self._left_behind: list[str] = []
        self._signal_number = 0
        self._sweeper: Sweeper | None = None

    def run(self) -> Ending:
        """Runs until the channels have ended, something failed or a signal came. Main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note_signal)
        engine = threading.Thread(target=self._run_engine, name="engine", daemon=True)
        engine.start()
        give_up = float("inf")
        while engine.is_alive() and time.monotonic() < give_up:
            engine.join(_TICK_S)
            if self._signal_number and give_up == float("inf"):
                give_up = time.monotonic() + STOP_TIMEOUT_S + 2 * _TICK_S
                logger.info("%s: stopping", signal.Signals(self._signal_number).name)
            if self._signal_number and self._runner is not None:
                self._runner.stop()
            self._beat()
        return self._end(engine)

    def _note_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signal_number = number

    def _beat(self) -> None:
        if self._sweeper is not None:
            self._sweeper.tend()
        runner, studio = self._runner, self._studio
        if runner is None or studio is None:
            self._heartbeat.beat(None)
        else:
            self._updates.look(functools.partial(reread, self._demo_path, runner, studio, base_dir=self._base_dir))
            self._heartbeat.tell(self._updates.revision, self._updates.problem)
            self._heartbeat.beat(runner.snapshot(), runner.hung(2 * self._settings.heartbeat_timeout_s))

    def _run_engine(self) -> None:
        try:
            runner, studio = build_runner(
                self._demo_path,
                settings=self._settings,
                base_dir=self._base_dir,
                start_loop=self._heartbeat.start_loop,
            )
            self._runner, self._studio = runner, studio
            self._sweeper = Sweeper()
            if not self._signal_number:
                with self._preview(studio):
                    self._left_behind = runner.run()
        except Exception as e:  # noqa: BLE001 - the engine's loop: every error becomes an exit code and a reason
            self._failure = e

    @contextmanager
    def _preview(self, studio: Studio) -> Iterator[None]:
        """Lets pictures be seen at the task's socket, where there is a task."""
        if self._task_dir is None:
            yield
            return
        server = PreviewServer(self._task_dir, studio)
        server.open()
        try:
            yield
        finally:
            server.close()

    def _end(self, engine: threading.Thread) -> Ending:
        left_behind = [*self._left_behind, *([engine.name] if engine.is_alive() else [])]
        if left_behind:
            logger.warning("did not end in time: %s", ", ".join(left_behind))
        snapshot = self._runner.snapshot() if self._runner else None
        code = exit_code_for(self._failure)
        if self._failure is not None:
            reason = _in_words(self._failure)
            unlogged = self._runner is None and code == exitcodes.CRASHED
            logger.error("%s: %s", exitcodes.describe(code), reason, exc_info=self._failure if unlogged else None)
            self._heartbeat.last(snapshot, reason)
        else:
            frames = snapshot.frames if snapshot else 0
            how = "stopped" if self._signal_number else "all channels have ended"
            logger.info("ends: %s; frames analysed: %d", how, frames)
            self._heartbeat.last(snapshot, "")
        return Ending(code, self._signal_number, tuple(left_behind))


def _in_words(error: Exception) -> str:
    if isinstance(error, StreamServerError):
        return str(error)
    return f"unexpected {type(error).__name__}: {error}; the traceback is in the log"
