"""What tripwire can be tuned by."""

from __future__ import annotations

tripwire_classes = (0,)
"""The classes that trip the wire unless the task's ``Extend.Classes`` says otherwise: persons."""
