"""Find an algorithm, load it and call it; whatever is wrong with it becomes a ``SampleError`` that names it.

An algorithm is an entry of ``config_algorithm.map_type`` and a folder ``samples/<name>/`` (``plugin_api`` has its
contract). Its three functions are methods of ``config_algorithm.Algorithms`` where somebody has written them there, as
the old server wanted, and else those of ``samples/<name>/<name>.py``.

Every ``load`` imports ``config_algorithm`` and the sample anew and keeps the modules to itself, so two algorithms of
one type share no variables, and an algorithm that was added or mended is found without a restart. Import-light: the
web process and the supervisor use this module.
"""

from __future__ import annotations

import importlib
import inspect
import keyword
import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from streamserver.core.errors import BadRequestError, SampleError
from streamserver.core.imports import BrokenModule, describe_error, fresh_imports, places_of
from streamserver.core.map_type import literal_map_type
from streamserver.core.reports import checked_report
from streamserver.core.settings import PROJECT_DIR, Settings
from streamserver.plugin_api import GraphOverrides

_log = logging.getLogger(__name__)

_FUNCTIONS = {
    "build_config": "(algorithm_name, stream_path, data, port, i)",
    "logic": "(json_data, up_list, rm_list)",
    "trans_json": "(json_data, task_id, Type, up_list)",
}
_ARGUMENTS = {
    "build_config": (5, 6, 4),  # 6: is_single_process at the end, which is off; 4: without i, one algorithm a task
    "logic": (3, 4),  # 4: with a state
    "trans_json": (4,),
}
_CONFIG = "config_algorithm"
_FOREIGN = (Exception, SystemExit)

_Version = tuple[tuple[str, int, int], ...]
_pure: dict[tuple[Path, str], tuple[_Version, Algorithm]] = {}
"""What ``build`` keeps, one version of an algorithm each."""


def known_types(*, project: Path = PROJECT_DIR) -> dict[int, str]:
    """The algorithms of ``config_algorithm.map_type``: number to name.

    Args:
        project: the folder with config_algorithm.py and samples/.

    Raises:
        SampleError: ``map_type`` is missing or holds something else than numbers from 1 and names.
    """
    table = literal_map_type(project / f"{_CONFIG}.py")
    if table is None:
        with _fresh(project):
            table = getattr(_import_config(project)[0], "map_type", None)
    if not isinstance(table, Mapping):
        raise SampleError(f"{_CONFIG}.py: map_type is missing", cure="write map_type = {1: 'tripwire'}")
    for number, name in table.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise SampleError(
                f"{_CONFIG}.py: map_type: {number!r} is no algorithm number", cure="use whole numbers >= 1"
            )
        if not is_name(name):
            raise SampleError(
                f"{_CONFIG}.py: map_type[{number}]: {name!r} is no algorithm name",
                cure="use the name of a samples/ folder",
            )
    return dict(table)


def is_name(name: object) -> bool:
    """True for what can name an algorithm: a Python identifier that is no keyword, so never a path."""
    return isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)


def config_dir(name: str, settings: Settings, *, project: Path = PROJECT_DIR) -> Path:
    """The folder with the sample's demo, graph and element files.

    With a sophon-stream program as the engine it is that tree's ``samples/<name>/config`` where there is one, so that
    its own model paths hold; else ours.

    Raises:
        SampleError: neither exists.
    """
    if settings.engine_binary is not None:
        external = Path(settings.stream_path) / "samples" / name / "config"
        if external.is_dir():
            return external
    return _config_dir_of(project, name)


def build(
    name: str, *, stream_path: str, data: dict[str, Any], port: int, index: int, project: Path = PROJECT_DIR
) -> GraphOverrides | Path:
    """Asks an algorithm for its configuration; see ``Algorithm.build_config``.

    One that answers with ``GraphOverrides`` is pure, and is not loaded again for the next task while its files are as
    they were. Old ones are loaded for every call.
    """
    version = _version(name, project)
    known_version, algorithm = _pure.get((project, name), (None, None))
    if algorithm is None or version != known_version:
        algorithm = load(name, project=project)
    answer = algorithm.build_config(stream_path=stream_path, data=data, port=port, index=index)
    if isinstance(answer, GraphOverrides):
        _pure[project, name] = version, algorithm
    else:
        _pure.pop((project, name), None)
    return answer


def load(name: str, *, project: Path = PROJECT_DIR) -> Algorithm:
    """A fresh copy of an algorithm, with variables of its own.

    Raises:
        SampleError: the sample is missing, incomplete or raises on import; the message says which and what to do.
    """
    return Algorithm(name, _load_functions(name, project), project)


class Algorithm:
    """One algorithm of one task. Calls must not overlap.

    Whatever the sample raises becomes a ``SampleError``, but for the ``BadRequestError`` of a ``build_config`` that
    cannot use the task.
    """

    def __init__(self, name: str, functions: _Functions, project: Path) -> None:
        """Use ``load``."""
        self.name = name
        self._functions = functions
        self._project = project
        self._touched = False

    def build_config(self, *, stream_path: str, data: dict[str, Any], port: int, index: int) -> GraphOverrides | Path:
        """Task to graph.

        Args:
            stream_path: a tree with ``samples/<name>/config``, private to this call: an old sample edits it in place.
            data: the accepted request.
            port: the client's port.
            index: the position in ``data["Algorithm"]``.

        Returns:
            The changes to the sample's graph, or the demo file that an old sample has written.
        """
        function = self._functions.build_config
        count = next(count for count in _ARGUMENTS["build_config"] if _accepts(function, count))
        arguments: list[Any] = [self.name, stream_path, data, port, index, 0]
        try:
            answer = self._call("build_config", function, *arguments[:count])
        except BadRequestError as e:
            path = e.path.replace("$.Algorithm[]", f"$.Algorithm[{index}]")  # plugin_api does not know the position
            raise BadRequestError(e.message.removeprefix(f"{e.path}: "), path=path, cure=e.cure) from e
        return self._check_build(answer, Path(stream_path))

    def new_state(self, request: Mapping[str, Any]) -> Any:
        """The memory that ``logic`` needs from frame to frame; call it at the start and when the source starts over.

        An old ``logic`` keeps its memory in module variables: for it, the modules are loaded anew, and the state is
        ``None``.

        Args:
            request: this algorithm's entry of the task.
        """
        functions = self._functions
        if functions.takes_state:
            return self._call("new_state", functions.new_state, dict(request))
        if self._touched:
            self._functions = _load_functions(self.name, self._project)
            self._touched = False
        return None

    def logic(self, json_data: dict[str, Any], up_list: list[Any], rm_list: list[Any], state: Any = None) -> None:
        """One frame to names: fills ``up_list`` with those to report and ``rm_list`` with those forgotten."""
        self._touched = True
        extra = (state,) if self._functions.takes_state else ()
        self._call("logic", self._functions.logic, json_data, up_list, rm_list, *extra)
        for name in up_list:
            if not isinstance(name, str | int):
                raise self._error("logic", f"put {name!r} into up_list; names are strings or numbers")

    def memory(self, state: Any) -> Any:
        """What the state wants to be remembered across restarts, JSON values; ``None`` for one that wants nothing."""
        found = getattr(state, "memory", None)
        return self._call("memory", found) if callable(found) and callable(getattr(state, "recall", None)) else None

    def recall(self, state: Any, memory: Any) -> None:
        """Gives a new state what ``memory`` returned before a restart, or before the source started over."""
        self._call("recall", state.recall, memory)

    def trans_json(self, json_data: dict[str, Any], task_id: str, type_: int, up_list: list[Any]) -> dict[str, Any]:
        """One frame and the names to report to a report (CONTRACT 6.3, no ``SrcID``), its numbers checked.

        ``AnalyzeEvents`` may be empty: then there is nothing to report.
        """
        self._touched = True
        report = self._call("trans_json", self._functions.trans_json, json_data, task_id, type_, up_list)
        try:
            return checked_report(report)
        except ValueError as e:
            raise self._error("trans_json", f"returned a report that no receiver takes: {e}") from e

    def _call(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except SampleError:
            raise
        except _FOREIGN as e:
            if isinstance(e, BadRequestError) and what == "build_config":
                raise
            _log.error("sample '%s': %s raised", self.name, what, exc_info=True)
            raise self._error(what, describe_error(e, self._project)) from e

    def _check_build(self, result: Any, stream_path: Path) -> GraphOverrides | Path:
        if isinstance(result, GraphOverrides):
            return result
        if not isinstance(result, str | Path):
            raise self._error(
                "build_config", f"returned {result!r}; expected GraphOverrides or the path of the demo file"
            )
        path = stream_path / "samples" / "build" / result  # where the old server stood; an absolute path stays
        if not path.is_file():
            raise self._error("build_config", f"returned '{result}', which is no file")
        return path

    def _error(self, what: str, problem: str) -> SampleError:
        file = f"samples/{self.name}/{self.name}.py"
        return SampleError(f"sample '{self.name}' ({file}): {self.name}_{what} {problem}", cure="correct it")


@dataclass(frozen=True, slots=True)
class _Functions:
    """What one copy of a sample offers."""

    build_config: Callable[..., Any]
    logic: Callable[..., Any]
    trans_json: Callable[..., Any]
    new_state: Callable[..., Any]
    takes_state: bool


def _version(name: str, project: Path) -> _Version:
    """What changes with every edit of the algorithm or of config_algorithm.py: path, time and size of each file."""
    files = [project / f"{_CONFIG}.py", *sorted((project / "samples" / name).glob("**/*.py"))]
    found = [(file, file.stat()) for file in files if file.is_file()]
    return tuple((str(file), status.st_mtime_ns, status.st_size) for file, status in found)


def _fresh(project: Path) -> AbstractContextManager[None]:
    return fresh_imports(project, (_CONFIG, "samples"))


def _load_functions(name: str, project: Path) -> _Functions:
    folder = project / "samples" / name
    if not is_name(name) or not folder.is_dir():
        raise SampleError(
            f"sample '{name}': {folder} does not exist", cure=f"run samples/add_algorithm.sh {name} <type>"
        )
    with _fresh(project):
        config, broken = _import_config(project)
        if name in broken:
            raise broken[name]
        owner = _methods_of(config, project)
        module = _import_module(name, name, project) if (folder / f"{name}.py").is_file() else None
        found = {what: _find_function(owner, module, name, what) for what in _FUNCTIONS}
        takes_state = _accepts(found["logic"], 4)
        new_state = _find_new_state(name, project) if takes_state else _no_state
    return _Functions(**found, new_state=new_state, takes_state=takes_state)


def _methods_of(config: ModuleType, project: Path) -> object:
    try:
        return getattr(config, "Algorithms", object)()
    except _FOREIGN as e:
        raise SampleError(f"{_CONFIG}.py: Algorithms: {describe_error(e, project)}", cure="correct it") from e


def _find_function(owner: object, module: ModuleType | None, name: str, what: str) -> Callable[..., Any]:
    full = f"{name}_{what}"
    explicit = any(full in vars(cls) for cls in type(owner).__mro__)
    found: object = getattr(owner if explicit else module, full, None)
    if not callable(found):
        file = f"samples/{name}/{name}.py"
        raise SampleError(
            f"sample '{name}': {file} {'is missing' if module is None else f'does not define {full}'}",
            cure=f"define {full}{_FUNCTIONS[what]}",
        )
    counts = _ARGUMENTS[what]
    if not any(_accepts(found, count) for count in counts):
        raise SampleError(
            f"sample '{name}': {full} does not take {counts[0]} arguments", cure=f"define {full}{_FUNCTIONS[what]}"
        )
    return found


def _find_new_state(name: str, project: Path) -> Callable[..., Any]:
    found: object = getattr(_import_module(name, "config_logic", project), "new_state", None)
    if not callable(found):
        raise SampleError(
            f"sample '{name}': {name}_logic takes a state, but samples/{name}/config_logic.py defines no new_state",
            cure="define new_state(algorithm), or drop the parameter",
        )
    return found


def _no_state(request: Mapping[str, Any]) -> None:
    """The state of an algorithm that keeps it in module variables."""


def _import_module(name: str, module: str, project: Path) -> ModuleType:
    file = project / "samples" / name / f"{module}.py"
    if not file.is_file():
        raise SampleError(f"sample '{name}': {file} is missing", cure="add it; samples/template shows what it holds")
    try:
        return importlib.import_module(f"samples.{name}.{module}")
    except _FOREIGN as e:
        _log.error("sample '%s' cannot be imported", name, exc_info=True)
        raise _import_error(name, e, project) from e


def _import_config(project: Path) -> tuple[ModuleType, dict[str, SampleError]]:
    """Imports config_algorithm; samples that it imports and that are broken are left out and returned by name."""
    broken: dict[str, SampleError] = {}
    while True:
        try:
            return importlib.import_module(_CONFIG), broken
        except _FOREIGN as e:
            name = _culprit(e, project)
            if name is None or name in broken:
                _log.error("%s cannot be imported", _CONFIG, exc_info=True)
                raise SampleError(f"{project / _CONFIG}.py: {describe_error(e, project)}", cure="correct it") from e
            broken[name] = _import_error(name, e, project)
            for module in (f"samples.{name}", f"samples.{name}.{name}"):
                sys.modules[module] = BrokenModule(module)


def _config_dir_of(project: Path, name: str) -> Path:
    folder = project / "samples" / name / "config"
    if not folder.is_dir():
        raise SampleError(f"sample '{name}': {folder} is missing", cure="add its demo, graph and element files")
    return folder


def _accepts(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True


def _import_error(name: str, error: BaseException, project: Path) -> SampleError:
    cure = "correct it"
    if isinstance(error, ModuleNotFoundError):
        cure = f"install or add '{error.name}'"
    return SampleError(f"sample '{name}' cannot be imported: {describe_error(error, project)}", cure=cure)


def _culprit(error: BaseException, project: Path) -> str | None:
    """The sample whose import failed, where it was one."""
    for file, _ in reversed(places_of(error)):
        if file.is_relative_to(project / "samples"):
            return file.relative_to(project / "samples").parts[0]
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("samples."):
        return str(error.name).split(".")[1]
    return None
