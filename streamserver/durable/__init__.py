"""SQLite files that survive crashes, damage and full disks."""
