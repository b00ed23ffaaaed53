"""Reads a YAML file of settings, with the line of each name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamserver.core.errors import ConfigError


def read_yaml(path: Path) -> dict[str, tuple[Any, int]]:
    """The names in a file, each with its value and line; a file that does not exist has none.

    Raises:
        ConfigError: it cannot be read, is no mapping, or has a name twice.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(path.read_text("utf-8"))
        root = loader.get_single_node()
        if root is None:
            return {}
        content = loader.construct_document(root)
    except FileNotFoundError:
        return {}
    except yaml.MarkedYAMLError as e:
        place = f":{e.problem_mark.line + 1}" if e.problem_mark else ""
        raise ConfigError(
            f"{path}{place}: cannot be read: {e.problem}{f' ({e.context})' if e.context else ''}",
            cure="mend the YAML there or in the line before",
        ) from e
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as e:
        raise ConfigError(f"{path}: cannot be read: {' '.join(str(e).split())}") from e
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path}: expected 'name: value' lines, got {type(content).__name__}")
    lines: dict[str, int] = {}
    for key, _ in root.value:
        line = key.start_mark.line + 1
        if key.value in lines:
            raise ConfigError(
                f"{path}:{line}: '{key.value}' stands in line {lines[key.value]} already", cure="keep one"
            )
        lines[str(key.value)] = line
    return {str(name): (value, lines.get(str(name), 1)) for name, value in content.items()}
