"""Has each address judged that FFmpeg is about to connect or send to.

FFmpeg resolves names by itself, follows redirects (over RTSP there is no option against it) and opens whatever a
playlist or a session description names. To judge all of that in one place, and the very address that is used, the entry
for ``connect`` in libavformat's table of imported functions is pointed at a function of ours: what ``LD_PRELOAD`` does
for a whole process. It costs nothing while a stream is read. An entry is touched only if it holds what libc exports.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Judge = Callable[[str], bool]
"""Whether an IP address may be reached; asked in the thread that is about to."""

_LIBRARY = "libavformat"
_NAMES = ("connect", "sendto", "getenv")
_PROXY_VARIABLES = (b"http_proxy", b"no_proxy")
"""What FFmpeg is not to find in the environment: through a proxy, it would be the proxy's address that is judged."""

_PT_DYNAMIC, _PT_GNU_RELRO = 2, 0x6474E552
_DT_PLTRELSZ, _DT_STRTAB, _DT_SYMTAB, _DT_RELA, _DT_RELASZ, _DT_JMPREL = 2, 5, 6, 7, 8, 23
_RELOCATION = struct.Struct("<QQq")
_SYMBOL_BYTES = 24
_PROT_READ, _PROT_WRITE = 1, 2
_IPV4_AT, _IPV6_AT = slice(4, 8), slice(8, 24)
"""Where the address stands in ``sockaddr_in`` and ``sockaddr_in6``."""


class UnwatchedError(Exception):
    """FFmpeg cannot be watched in this process; the text says why, and completes "FFmpeg cannot be watched:"."""


class _ProgramHeader(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("offset", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
        ("physical", ctypes.c_uint64),
        ("file_bytes", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("align", ctypes.c_uint64),
    )


class _ObjectInfo(ctypes.Structure):
    _fields_ = (
        ("base", ctypes.c_uint64),
        ("name", ctypes.c_char_p),
        ("headers", ctypes.POINTER(_ProgramHeader)),
        ("header_count", ctypes.c_uint16),
    )


@dataclass(frozen=True, slots=True)
class _Library:
    """A shared library as it lies in memory; ``segments``: type, first address and size of each."""

    name: str
    base: int
    segments: tuple[tuple[int, int, int], ...]


_OnObject = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_ObjectInfo), ctypes.c_size_t, ctypes.c_void_p)
_Connect = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, use_errno=True)
_SendTo = ctypes.CFUNCTYPE(
    *(ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32),
    use_errno=True,
)
_GetEnv = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)


class Watch:
    """The functions that libavformat gets in place of libc's, and where they have been put."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._connect = _Connect(("connect", libc))
        self._send_to = _SendTo(("sendto", libc))
        self._get_env = _GetEnv(("getenv", libc))
        self._real = {name: _address_of(getattr(libc, name)) for name in _NAMES}
        ours = (_Connect(self._judged_connect), _SendTo(self._judged_send_to), _GetEnv(self._judged_get_env))
        self._ours = dict(zip(_NAMES, ours, strict=True))  # also keeps them alive: C holds their addresses
        self._libc = libc
        self._watched: set[int] = set()
        self._lock = threading.Lock()
        self._judging = threading.local()

    def put(self) -> None:
        """Watches every libavformat of this process; raises ``UnwatchedError``."""
        with self._lock:
            libraries = list(self._libraries())
            if not libraries:
                raise UnwatchedError(f"no {_LIBRARY} is loaded as a shared library")
            for library in libraries:
                if library.base not in self._watched:
                    self._put_into(library)
                    self._watched.add(library.base)

    def set_judge(self, judge: Judge | None) -> None:
        """Who judges what the calling thread connects to; ``None`` for nobody."""
        self._judging.judge = judge

    def _allows(self, address: int | None, size: int) -> bool:
        judge: Judge | None = getattr(self._judging, "judge", None)
        if judge is None or not address:  # a socket that is connected has been judged
            return True
        ip = _ip_of(ctypes.string_at(address, size))
        return ip is not None and judge(ip)

    def _judged_connect(self, fd: int, address: int | None, size: int) -> int:
        if not self._allows(address, size):
            ctypes.set_errno(errno.EACCES)
            return -1
        return int(self._connect(fd, address, size))

    def _judged_send_to(self, fd: int, data: int | None, count: int, flags: int, address: int | None, size: int) -> int:
        if not self._allows(address, size):
            ctypes.set_errno(errno.EACCES)
            return -1
        return int(self._send_to(fd, data, count, flags, address, size))

    def _judged_get_env(self, name: bytes) -> int | None:
        return None if name in _PROXY_VARIABLES else self._get_env(name)

    def _libraries(self) -> Iterator[_Library]:
        found: list[_Library] = []

        def note(info: ctypes._Pointer[_ObjectInfo], _size: int, _data: int | None) -> int:
            seen = info.contents
            name = Path(os.fsdecode(seen.name or b"")).name
            if name.startswith(_LIBRARY):
                headers = [seen.headers[i] for i in range(seen.header_count)]
                segments = tuple((header.type, seen.base + header.address, header.bytes) for header in headers)
                found.append(_Library(name, seen.base, segments))
            return 0

        self._libc.dl_iterate_phdr(_OnObject(note), None)
        return iter(found)

    def _put_into(self, library: _Library) -> None:
        slots = list(_slots(library))  # a function that is called and pointed at has two
        for name in _NAMES:
            values = {_word(slot).value for other, slot in slots if other == name}
            if values != {self._real[name]}:
                raise UnwatchedError(f"{library.name} does not import '{name}' in the usual way")
        for name, slot in slots:
            self._write(library, slot, _address_of(self._ours[name]))

    def _write(self, library: _Library, slot: int, value: int) -> None:
        size = os.sysconf("SC_PAGE_SIZE")
        page = slot - slot % size
        is_read_only = any(
            _covers(start, count, page, size) for kind, start, count in library.segments if kind == _PT_GNU_RELRO
        )
        place = ctypes.c_void_p(page)
        if is_read_only and self._libc.mprotect(place, ctypes.c_size_t(size), _PROT_READ | _PROT_WRITE):
            raise UnwatchedError(f"{library.name}: {os.strerror(ctypes.get_errno())}")
        _word(slot).value = value
        if is_read_only:
            self._libc.mprotect(place, ctypes.c_size_t(size), _PROT_READ)


def _covers(start: int, count: int, page: int, page_bytes: int) -> bool:
    """Whether the loader has made a page read-only for this segment: not so a last one that it fills only partly.

    What lies behind it there is written to; where pages are larger than the linker thought, that happens.
    """
    end = start + count
    return start - start % page_bytes <= page < end - end % page_bytes


_making = threading.Lock()
_made: list[Watch] = []


def watch() -> Watch:
    """The watch of this process, put onto every FFmpeg that is loaded by now.

    Raises:
        UnwatchedError: it cannot be.
    """
    if not sys.platform.startswith("linux") or sys.maxsize < 1 << 32 or sys.byteorder != "little":
        raise UnwatchedError("that takes a 64-bit Linux")
    with _making:
        if not _made:
            _made.append(Watch())
    _made[0].put()
    return _made[0]


def _slots(library: _Library) -> Iterator[tuple[str, int]]:
    """Where the addresses of the functions in ``_NAMES`` stand."""
    dynamic = dict(_dynamic(library))
    wanted = {name.encode(): name for name in _NAMES}
    symbols, texts = (_absolute(library, dynamic[tag]) for tag in (_DT_SYMTAB, _DT_STRTAB))
    for table, size in ((_DT_JMPREL, _DT_PLTRELSZ), (_DT_RELA, _DT_RELASZ)):
        if table not in dynamic:
            continue
        for offset, kind, _ in _RELOCATION.iter_unpack(
            ctypes.string_at(_absolute(library, dynamic[table]), dynamic[size])
        ):
            if number := kind >> 32:
                text = texts + ctypes.c_uint32.from_address(symbols + number * _SYMBOL_BYTES).value
                if name := wanted.get(ctypes.string_at(text)):
                    yield name, library.base + offset


def _dynamic(library: _Library) -> Iterator[tuple[int, int]]:
    """Tags and values of the library's dynamic section."""
    for kind, start, _ in library.segments:
        while kind == _PT_DYNAMIC and (tag := _word(start).value):
            yield tag, _word(start + 8).value
            start += 16


def _absolute(library: _Library, address: int) -> int:
    """Some loaders write the real address into the dynamic section, others leave the one within the file."""
    return address if address >= library.base else library.base + address


def _word(address: int) -> ctypes.c_uint64:
    return ctypes.c_uint64.from_address(address)


def _address_of(function: ctypes._CFunctionType | ctypes._NamedFuncPointer) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _ip_of(sockaddr: bytes) -> str | None:
    """The IP address of a C ``sockaddr``; ``None`` for other families, such as Unix sockets."""
    (family,) = struct.unpack_from("H", sockaddr)
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, sockaddr[_IPV4_AT])
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, sockaddr[_IPV6_AT])
    return None
