"""Keys: for the HTTP API, and for applications, with the licences that these are exchanged for (docs/passflow.md)."""

from streamserver.keys.api import ApiKey, NewApiKey
from streamserver.keys.book import AppKey, KeyBook, NewKey
from streamserver.keys.issue import issue
from streamserver.keys.ring import KeyRing
from streamserver.keys.signing import SigningKey

__all__ = ["ApiKey", "AppKey", "KeyBook", "KeyRing", "NewApiKey", "NewKey", "SigningKey", "issue"]
