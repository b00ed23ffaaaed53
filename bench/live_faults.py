"""What a task says of its camera when something is wrong: ``python -m bench.live_faults``.

Real servers are refused, frozen, cut off and spoilt, and ``/task/query`` is asked as a user would ask it. Each row says
which state was seen, with which reason, how long that took, how long it may take, and how long after the cure pictures
came again. The exit code is 1 when a row did not go as it must. Names of rows as arguments run only those.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench import gb28181_faults
from bench.camera_watch import BACK_S, SEEN_S, Bench, Row, reconnecting
from bench.tcp_proxy import Proxy
from tests.assets import model
from tests.e2e.harness import Server, ledger, server, wait_for
from tests.e2e.live_clip import IN_THREE, WHOLE, pieces_of, play_through
from tests.servers.clips import make_clip
from tests.servers.ports import free_port
from tests.servers.rtsp import RtspServer

STALLED_S, FROZEN_S = 10.0, 60.0
AWAY_S = 20.0
LOGIN_S = 35.0
"""After a refused login 15 to 30 s pass until the next try, by design: cameras lock users out."""

CAMERAS = 20
CONNECTS_PER_S = 5


def refused(bench: Bench) -> Row:
    """Nobody listens at the port; then somebody does."""
    row = Row("server refuses", "reconnecting", SEEN_S)
    port = free_port()
    with bench.watch("refused", f"rtsp://127.0.0.1:{port}/cam") as watch:
        watch.sees(row, reconnecting("refused"))
        with RtspServer(bench.clip, port=port):
            watch.is_back(row, time.monotonic())
    return row


def killed(bench: Bench) -> Row:
    """The server dies and comes back after 20 s."""
    row = Row(f"server killed for {AWAY_S:.0f} s", "reconnecting", SEEN_S)
    with RtspServer(bench.clip) as camera, bench.watch("killed", camera.url) as watch:
        watch.streams()
        camera.stop()
        start = time.monotonic()
        watch.sees(row, reconnecting("."), start)
        time.sleep(start + AWAY_S - time.monotonic())
        camera.start()
        watch.is_back(row, time.monotonic())
    return row


def no_name(bench: Bench) -> Row:
    """A name that no resolver knows."""
    row = Row("DNS fails", "reconnecting", SEEN_S + 3)
    with bench.watch("name", "rtsp://name.invalid:554/cam") as watch:
        watch.sees(row, reconnecting("name .*cannot be resolved"))
    return row


def wrong_password(bench: Bench) -> Row:
    """The password is wrong until the camera's is set to it."""
    row = Row("wrong password", "reconnecting, 401", SEEN_S)
    with (
        RtspServer(bench.clip, user="admin", password="another") as camera,
        bench.watch("password", camera.url_with("admin", "s3cr3t/wo@rd")) as watch,
    ):
        watch.sees(row, reconnecting("password was refused"))
        if "s3cr3t" in str(watch.status):
            row.problems.append("the password is shown")
        camera.password = "s3cr3t/wo@rd"
        camera.restart()
        watch.is_back(row, time.monotonic(), bound_s=LOGIN_S)
    return row


def black_hole(bench: Bench) -> Row:
    """The server is stopped by SIGSTOP: connections stand, and nothing comes."""
    row = Row("black hole (SIGSTOP)", "stalled, then reconnecting", STALLED_S + SEEN_S)
    with RtspServer(bench.clip) as camera, bench.watch("hole", camera.url) as watch:
        watch.streams()
        camera.freeze()
        start = time.monotonic()
        watch.sees(row, lambda status: status["Source"] == "stalled", start)
        seen_s = row.after_s
        row.bound_s = STALLED_S + 2 + SEEN_S
        watch.sees(row, reconnecting("."), start)
        row.after_s, row.bound_s = seen_s, STALLED_S + SEEN_S
        time.sleep(max(0.0, start + AWAY_S - time.monotonic()))
        camera.thaw()
        watch.is_back(row, time.monotonic(), bound_s=BACK_S + 5)
    return row


def reset(bench: Bench) -> Row:
    """The TCP connection ends with RST in mid-stream."""
    row = Row("reset in mid-stream (RST)", "reconnecting, or already back", SEEN_S)
    with RtspServer(bench.clip) as camera, Proxy(camera.port) as wire, bench.watch("reset", wire.rtsp_url) as watch:
        watch.streams()
        wire.reset()
        start = time.monotonic()
        watch.sees(row, lambda status: status["Source"] == "reconnecting" or status["Reconnects"] > 0, start)
        watch.is_back(row, start)
    return row


def garbage(bench: Bench) -> Row:
    """Half a GOP of RTP payload becomes noise on its way."""
    row = Row("half a GOP of garbage", "streaming, BrokenPackets grows", SEEN_S)
    with RtspServer(bench.clip) as camera, Proxy(camera.port) as wire, bench.watch("garbage", wire.rtsp_url) as watch:
        watch.streams()
        before = watch.status
        wire.garble(0.5)
        start = time.monotonic()
        watch.sees(row, lambda status: status["BrokenPackets"] > before["BrokenPackets"], start)
        watch.is_back(row, start + 0.5)
        time.sleep(2.0)
        watch.goes_on(row, before)
        row.reason = f"BrokenPackets {watch.status['BrokenPackets']} ({wire.spoilt} RTP packets spoilt)"
    return row


def other_size(bench: Bench) -> Row:
    """The camera's resolution and rate are changed while it sends."""
    row = Row("resolution and rate change", "streaming, no reconnect", SEEN_S + 2)
    with RtspServer(bench.clip) as camera, bench.watch("size", camera.url) as watch:
        watch.streams()
        before = watch.status
        camera.switch(make_clip(size_wh=(256, 144), fps=20, gop=20))
        start = time.monotonic()
        watch.sees(row, lambda status: "256x144" in status["Stream"], start)
        watch.is_back(row, start)
        watch.goes_on(row, before)
        row.reason = f"{before['Stream']} became {watch.status['Stream']}"
    return row


def other_codec(bench: Bench) -> Row:
    """The camera's codec is changed, for which cameras disconnect."""
    row = Row("codec change", "streaming again", BACK_S)
    with RtspServer(bench.clip) as camera, bench.watch("codec", camera.url) as watch:
        watch.streams()
        before = watch.status
        camera.switch(make_clip(codec="h265", size_wh=(128, 96), fps=10, gop=10))
        start = time.monotonic()
        watch.sees(row, lambda status: status["Source"] == "streaming" and "hevc" in status["Stream"], start)
        row.back_s = row.after_s
        row.reason = f"{before['Stream']} became {watch.status['Stream']}"
    return row


def frozen(bench: Bench) -> Row:
    """The camera shows the same picture again and again; at default settings."""
    return _frozen(bench, bench.one, FROZEN_S)


def frozen_quickly(bench: Bench) -> Row:
    """The same with a lower limit."""
    return _frozen(bench, bench.quick, 5.0)


def _frozen(bench: Bench, one: Server, limit_s: float) -> Row:
    row = Row(f"freeze (frozen_after_s {limit_s:g})", "stalled", limit_s + 2 * SEEN_S)
    with RtspServer(bench.clip) as camera, bench.watch(f"frozen {limit_s:g}", camera.url, one) as watch:
        watch.streams()
        before = watch.status
        camera.mode("still")
        start = time.monotonic()
        watch.sees(row, lambda status: status["Source"] == "stalled", start)
        if row.after_s is not None and row.after_s < limit_s - 1:
            row.problems.append("seen too early")
        camera.mode("play")
        watch.is_back(row, time.monotonic())
        watch.goes_on(row, before, reconnects=1)
    return row


def web_page(bench: Bench) -> Row:
    """An address that gives a page of HTML."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = b"<!doctype html><title>camera</title><h1>Log in</h1>" * 20
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            pass

    row = Row("no video: an HTTP page", "reconnecting", SEEN_S + 2)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        with bench.watch("page", f"http://127.0.0.1:{web.server_address[1]}/index.html") as watch:
            watch.sees(row, reconnecting("not a video|no video"))
        web.shutdown()
    return row


def wrong_path(bench: Bench) -> Row:
    """An RTSP server without this stream."""
    row = Row("no video: an RTSP path that is not there", "reconnecting, 404", SEEN_S)
    with RtspServer(bench.clip) as camera, bench.watch("path", f"rtsp://127.0.0.1:{camera.port}/nothing") as watch:
        watch.sees(row, reconnecting("404"))
    return row


def many_return(bench: Bench) -> Row:
    """Twenty cameras of one machine come back in the same second."""
    bound_s = CAMERAS / CONNECTS_PER_S + BACK_S
    row = Row(f"{CAMERAS} cameras return at once", f"at most {CONNECTS_PER_S} connects a second", SEEN_S)
    with RtspServer(bench.clip) as camera, Proxy(camera.port) as wire, ExitStack() as stack:
        watches = [bench.watch(f"camera {number}", wire.rtsp_url, bench.crowd) for number in range(CAMERAS)]
        for watch in watches:
            stack.enter_context(watch).streams()
        first = time.monotonic()
        camera.stop()
        wait_for(lambda: _all(bench.crowd, "reconnecting"), "all are away", lambda: _sources(bench.crowd))
        row.state, row.after_s = f"{CAMERAS} reconnecting", time.monotonic() - first
        row.problems += [f"seen after {row.after_s:.1f} s"] if row.after_s > row.bound_s else []
        time.sleep(AWAY_S / 2)
        camera.start()
        start = time.monotonic()
        wait_for(lambda: _all(bench.crowd, "streaming"), "all are back", lambda: _sources(bench.crowd))
        row.back_s = time.monotonic() - start
        row.problems += [f"back after {row.back_s:.1f} s instead of {bound_s:g}"] if row.back_s > bound_s else []
        busiest = wire.busiest(1.0, first)
        tries = sum(moment >= first for moment in wire.accepted)
        row.reason = f"at most {busiest} connects a second, {tries} in {time.monotonic() - first:.0f} s"
        row.problems += [f"{busiest} connects in a second"] if busiest > CONNECTS_PER_S else []
    return row


def _six_alarms(bench: Bench, name: str, parts: Sequence[tuple[int, int]]) -> Row:
    """The main job on a live stream at the pace at which it was filmed."""
    row = Row(f"main job over RTSP, {name}", "six alarms", 0)
    status = play_through(bench.one, name, bench.receiver_url, pieces_of(bench.folder, parts))
    row.state, row.reason = f"{status['Events']} alarms", f"Dropped {status['Dropped']}"
    row.problems += [f"{status['Events']} alarms"] if status["Events"] != 6 else []
    row.problems += [f"{status['Reconnects']} reconnects"] if status["Reconnects"] != len(parts) - 1 else []
    return row


def six_in_one_piece(bench: Bench) -> Row:
    """The main job on a camera that works."""
    return _six_alarms(bench, "in one piece", WHOLE)


def six_in_three_pieces(bench: Bench) -> Row:
    """The main job on a camera that dies twice while nobody is there."""
    return _six_alarms(bench, "killed twice", IN_THREE)


FAULTS: tuple[Callable[[Bench], Row], ...] = (
    refused, killed, no_name, wrong_password, black_hole, reset, garbage,
    other_size, other_codec, frozen_quickly, frozen, web_page, wrong_path, *gb28181_faults.FAULTS,
)  # fmt: skip
"""What runs side by side."""

LONG: tuple[Callable[[Bench], Row], ...] = (six_in_one_piece, six_in_three_pieces)
"""What takes as long as the clip, beside the others; ``many_return`` comes last, for it starts twenty engines."""


def main(names: Sequence[str]) -> int:
    """Prints the table; returns 1 when a row did not go as it must."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        receiver = stack.enter_context(ledger())
        environment = {"STREAMSERVER_MODELS": str(model("yolox_nano.onnx").parent)}
        quick = {"STREAMSERVER_FROZEN_AFTER_S": "5"}
        bench = Bench(
            one=stack.enter_context(server(Path(folder) / "one", environment=environment)),
            quick=stack.enter_context(server(Path(folder) / "quick", environment=quick)),
            crowd=stack.enter_context(server(Path(folder) / "crowd")),
            receiver_url=receiver.url,
            clip=make_clip(size_wh=(128, 96), fps=10, gop=10),
            folder=Path(folder),
        )
        rows = _run([fault for fault in (*LONG, *FAULTS, many_return) if not names or fault.__name__ in names], bench)
    print("| fault | state seen | reason | after s | at most s | back after s | |\n|---|---|---|---|---|---|---|")
    print("\n".join(row.to_text() for row in rows))
    failed = sum(bool(row.problems) for row in rows)
    print(f"\n{len(rows) - failed} of {len(rows)} pass; {time.monotonic() - start:.0f} s")
    return min(failed, 1)


def _run(faults: Sequence[Callable[[Bench], Row]], bench: Bench) -> list[Row]:
    """The rows of ``faults``, side by side; what goes wrong with one is its problem."""
    with ThreadPoolExecutor(len(faults) + 1) as pool:
        running = {fault: pool.submit(_attempt, fault, bench) for fault in faults if fault is not many_return}
        if many_return in faults:
            wait(running.values())
            running[many_return] = pool.submit(_attempt, many_return, bench)
        return [future.result() for future in running.values()]


def _attempt(fault: Callable[[Bench], Row], bench: Bench) -> Row:
    try:
        return fault(bench)
    except Exception as e:  # noqa: BLE001 - the other rows are to be seen all the same
        return Row(fault.__name__, "", 0, problems=[f"{type(e).__name__}: {e}"])


def _all(one: Server, source: str) -> bool:
    return _sources(one) == [source] * CAMERAS


def _sources(one: Server) -> list[str]:
    return [entry["Source"] for entry in one.post("/task/list", {})["Result"]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
