"""The engine process of one task: ``python -m streamserver.worker``."""
