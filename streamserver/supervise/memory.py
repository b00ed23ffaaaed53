"""How much memory a process and what it started really hold: anonymous and shared pages, without mapped files."""

from __future__ import annotations

from pathlib import Path

_COUNTED = ("RssAnon:", "RssShmem:")
_LOOKS = 3
"""So often a process is looked at whose threads end meanwhile: their children are those of another thread then."""

_KIB = 1024
_MB = 1_000_000


def used_mb(pid: int) -> float:
    """Megabytes that ``pid`` and its descendants have resident; 0 for a process that is gone."""
    return sum(_resident_bytes(one) for one in family(pid)) / _MB


def family(pid: int) -> list[int]:
    """``pid`` and its descendants, as the kernel lists them at the moment."""
    found = [pid]
    for one in found:
        found += [child for child in _children(one) if child not in found]
    return found


def _children(pid: int) -> list[int]:
    """Children by the threads that started them; none where the kernel does not tell."""
    found: dict[int, None] = {}
    for _ in range(_LOOKS):
        has_ended = False
        for thread in _threads(pid):
            try:
                found |= dict.fromkeys(map(int, (thread / "children").read_text().split()))
            except OSError:  # it ended meanwhile, or a kernel without these files
                has_ended = True
        if not has_ended:
            break
    return list(found)


def _threads(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _resident_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * _KIB for line in lines if line.startswith(_COUNTED))
