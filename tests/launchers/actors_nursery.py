"""A nursery of actors: the real one, but for what it forks."""

from __future__ import annotations

import sys

from streamserver.launchers import nursery

ACTOR = nursery.Kind(module="tests.launchers.nursery_actor", skip=3, needs=("numpy.random",))

if __name__ == "__main__":
    nursery.KINDS.update(engine=ACTOR, client=ACTOR)
    sys.exit(nursery.main(sys.argv[1:]))
