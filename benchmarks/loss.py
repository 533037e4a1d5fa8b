"""What loss costs: random calls of known outcome, one message in twenty lost.

`python benchmarks/loss.py [CALLS] [SEED]` prints one line a capture view: notices due, false, lost, by rule.
"""

import sys
from collections import Counter
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.ladder_capture import Capture, batches
from support.scenarios import plan, play, thinned

from missedcall_classifier.engine import Engine
from missedcall_classifier.policy import Policy

VIEWS = {
    "every hop once": Capture(),
    "both ends of every hop": Capture(twice=True),
    "at the servers": Capture(boxes=("proxy", "sbc", "pbx")),
}


def measure(view: Capture, calls: int, seed: int, share: float) -> Counter[str]:
    """Return what was due, lost, and false over ``calls`` random calls."""
    rng = Random(seed)
    found: Counter[str] = Counter()
    for index in range(calls):
        call = play(plan(rng), index=index)
        engine = Engine(Policy())
        kept = thinned(call.messages(view), rng, share)
        decisions = [d for batch in batches(kept) for d in engine.feed(batch)] + engine.finish()
        standing: set[str] = set()
        for fact in (fact for d in decisions for fact in d.facts if not fact.suppressed):
            (standing.add if fact.state == "missed" else standing.discard)(fact.callee)
        due = set(call.due)
        found["due"] += len(due)
        found["false"] += len(standing - due)
        for callee in due - standing:
            found["lost"] += 1
            rules = {v.rule for d in decisions for v in d.verdicts if v.callee == callee}
            found["lost by " + (", ".join(sorted(rules)) or "no verdict")] += 1
    return found


def main() -> None:
    """Print the figures."""
    calls, seed = (int(word) for word in (sys.argv[1:] + ["2000", "1"][len(sys.argv) - 1 :])[:2])
    for name, view in VIEWS.items():
        found = measure(view, calls, seed, 0.05)
        rest = ", ".join(f"{key} {n}" for key, n in found.most_common() if key.startswith("lost by"))
        share = 100 * found["lost"] / max(1, found["due"])
        print(
            f"{name}: {calls} calls, due {found['due']}, false {found['false']}, lost {found['lost']}"
            f" ({share:.1f} %): {rest}"
        )


if __name__ == "__main__":
    main()
