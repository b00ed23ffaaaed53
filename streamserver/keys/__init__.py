"""Application keys and the licences that they are exchanged for (docs/passflow.md)."""

from streamserver.keys.book import AppKey, KeyBook, NewKey
from streamserver.keys.issue import issue
from streamserver.keys.signing import SigningKey

__all__ = ["AppKey", "KeyBook", "NewKey", "SigningKey", "issue"]
