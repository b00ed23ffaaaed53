"""The HTTP API: wiring, views, the reply envelope, and its own description."""

from streamserver.web.app import create_app

__all__ = ["create_app"]
