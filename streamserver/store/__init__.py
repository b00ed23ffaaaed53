"""Tasks and their state, in one SQLite file that the web process and the supervisor share."""

from streamserver.durable import recent_damage
from streamserver.store.records import Desired, Page, StateChange, TaskRecord
from streamserver.store.schema import store_url
from streamserver.store.tasks import TaskStore

__all__ = ["Desired", "Page", "StateChange", "TaskRecord", "TaskStore", "recent_damage", "store_url"]
