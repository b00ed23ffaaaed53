"""``POST /license``: application keys become a signed licence."""

from __future__ import annotations

import logging

from flask import Blueprint, Response, jsonify

from streamserver.core.license_request import parse_license
from streamserver.core.replies import License, LicenseReply, LicenseResult
from streamserver.web import audit, services
from streamserver.web.body import read_body

log = logging.getLogger(__name__)

blueprint = Blueprint("license", __name__)


@blueprint.post("/license")
def license_for_keys() -> Response:
    """A licence for the keys of the body, until they expire. What signs it is loaded only here."""
    from streamserver.keys import issue

    settings = services.current().settings
    wanted = parse_license(read_body(max_bytes=settings.max_body_bytes), max_bytes=settings.max_body_bytes)
    audit.about(wanted.app_key)
    content, public_key = issue(
        settings.state_path,
        app_key=wanted.app_key,
        app_secret=wanted.app_secret,
        service_key=wanted.service_key,
    )
    log.info("licence %s for app_key %s until %s", content["license_id"], content["app_key"], content["expires"])
    reply = LicenseReply(Result=LicenseResult(License=License(**content), PublicKey=public_key))
    return jsonify(reply.model_dump(by_alias=True))
