"""What every reply says to browsers: nothing is kept, guessed, framed or run."""

from __future__ import annotations

from flask import Flask, Response

from streamserver.core.settings import Settings

_HSTS = "max-age=86400"
"""One day: it holds for every port of the name, so also for a front end beside us that speaks plain HTTP."""

_POLICY = "default-src 'none'; frame-ancestors 'none'"


def register(app: Flask, settings: Settings) -> None:
    """Adds the headers to all replies of ``app``; what a view has set stays. CORS stays off: no page reads replies."""

    def add(response: Response) -> Response:
        headers = response.headers
        is_picture = (response.mimetype or "").startswith(("image/", "multipart/"))
        headers.setdefault("Cache-Control", "no-store")
        headers.setdefault("X-Content-Type-Options", "nosniff")
        headers.setdefault("Referrer-Policy", "no-referrer")
        # pages of a front end on another machine show our pictures in <img>; they show nothing else of ours
        headers.setdefault("Cross-Origin-Resource-Policy", "cross-origin" if is_picture else "same-origin")
        if not is_picture:
            headers.setdefault("Content-Security-Policy", _POLICY)
            headers.setdefault("X-Frame-Options", "DENY")
        if settings.tls_cert:
            headers.setdefault("Strict-Transport-Security", _HSTS)
        return response

    app.after_request(add)
