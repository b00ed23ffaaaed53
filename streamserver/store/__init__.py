"""Tasks and their state, in one SQLite file that the web process and the supervisor share."""

from streamserver.store.schema import store_url
from streamserver.store.tasks import Desired, TaskRecord, TaskStore

__all__ = ["Desired", "TaskRecord", "TaskStore", "store_url"]
