"""RTMP and HLS from one nginx with libnginx-mod-rtmp: one unprivileged process, all its files in a temporary folder."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.servers.clips import Clip
from tests.servers.packages import NGINX_MODULES, needs, program
from tests.servers.ports import free_port
from tests.servers.process import ServerProcess, port_is_open, wait_until
from tests.servers.publisher import Publisher

_CONFIGURATION = """
load_module {modules}/ngx_rtmp_module.so;
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
rtmp {{
  server {{
    listen 127.0.0.1:{rtmp_port};
    chunk_size 4096;
    application live {{
      live on;
      wait_key on;
      idle_streams off;
      allow publish 127.0.0.1;
      hls on;
      hls_path {folder}/hls;
      hls_fragment 1s;
      hls_playlist_length 6s;
    }}
  }}
}}
http {{
  access_log off;
  {temporary}
  server {{
    listen 127.0.0.1:{http_port};
    location /hls {{
      root {folder};
      types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; }}
      add_header Cache-Control no-cache;
    }}
  }}
}}
"""


def temporary_paths(folder: Path) -> str:
    """Lines of a configuration that keep nginx's temporary files in ``folder``."""
    parts = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "\n  ".join(f"{part}_temp_path {folder}/{part};" for part in parts)


class NginxServer(ServerProcess):
    """A media server with the streams that are published to it; killed and started again together with them."""

    def __init__(self) -> None:
        needs("nginx", "ffmpeg")
        super().__init__()
        self.rtmp_port, self.http_port = free_port(), free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="nginx-")
        self._publishers: dict[str, Publisher] = {}

    def rtmp_url(self, name: str) -> str:
        """Where the stream ``name`` is published and played."""
        return f"rtmp://127.0.0.1:{self.rtmp_port}/live/{name}"

    def hls_url(self, name: str) -> str:
        """The playlist of the stream ``name``."""
        return f"http://127.0.0.1:{self.http_port}/hls/{name}.m3u8"

    def publish(self, name: str, clip: Clip) -> None:
        """Plays ``clip`` round and round as RTMP, from which nginx makes HLS; returns once it can be watched.

        H.264 only: the old FLV that both speak has no other.
        """
        self._add(Publisher(clip, self.rtmp_url(name), "flv"), name)

    def publish_hls(self, name: str, clip: Clip) -> None:
        """Plays ``clip`` round and round as HLS alone, cut by FFmpeg, which takes H.265 too."""
        options = ("-hls_time", "1", "-hls_list_size", "6", "-hls_flags", "delete_segments+temp_file")
        self._add(Publisher(clip, str(self._hls / f"{name}.m3u8"), "hls", options), name)

    def _add(self, publisher: Publisher, name: str) -> None:
        self._publishers[name] = publisher
        publisher.start()
        wait_until((self._hls / f"{name}.m3u8").exists, lambda: f"there is a playlist of {name}; {self.said()}")

    def segments(self, name: str) -> int:
        """How many pieces the playlist of the stream ``name`` has now."""
        return (self._hls / f"{name}.m3u8").read_text().count("#EXTINF")

    @property
    def published(self) -> set[str]:
        """The names of the streams."""
        return set(self._publishers)

    @property
    def _hls(self) -> Path:
        return Path(self._folder.name) / "hls"

    def command(self) -> list[str]:
        """Writes the configuration and names it."""
        folder = Path(self._folder.name)
        shutil.rmtree(self._hls, ignore_errors=True)
        self._hls.mkdir()
        configuration = folder / "nginx.conf"
        ports = {"rtmp_port": self.rtmp_port, "http_port": self.http_port}
        values = {"folder": folder, "temporary": temporary_paths(folder), "modules": NGINX_MODULES}
        configuration.write_text(_CONFIGURATION.format(**values, **ports))
        return [program("nginx") or "nginx", "-p", str(folder), "-e", "stderr", "-c", str(configuration)]

    def is_up(self) -> bool:
        """True when both ports are open."""
        return port_is_open(self.rtmp_port) and port_is_open(self.http_port)

    def start(self) -> None:
        """Starts the server and whoever published to it before."""
        super().start()
        for publisher in self._publishers.values():
            publisher.restart()

    def stop(self) -> None:
        """Kills the server and all that publish to it."""
        for publisher in self._publishers.values():
            publisher.stop()
        super().stop()

    def __exit__(self, *_: object) -> None:
        for publisher in self._publishers.values():
            publisher.__exit__()
        super().__exit__()
        self._folder.cleanup()
