"""stream-server: tasks in, supervised video analysis, alarms out."""

__version__ = "0.1.0"
