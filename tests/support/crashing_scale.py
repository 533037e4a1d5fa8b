"""`missedcall scale-partitions`, which kills itself at the step that CHAOS_STEP names."""

import os
import signal
import sys

from missedcall_classifier.stream import scale
from missedcall_embedded.cli import main

STEP = os.environ.get("CHAOS_STEP", "")


class Crashing(scale.Scaling):
    """A job that does not live beyond a step."""

    def _done(self, step: str, text: str) -> None:
        super()._done(step, text)
        if step == STEP:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    scale.Scaling = Crashing
    sys.exit(main())
