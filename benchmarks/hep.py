"""How fast HEP becomes records on one core: from a frame, as the socket gives it, to a SipMessage.

    .venv/bin/python benchmarks/hep.py [MESSAGES] [ROUNDS]

Each sender's frames carry the messages of `traffic.py`, the same for all. `decode` ends at the HEP packet, `record`
at the SipMessage, with the correlation rules of the default policy; over TCP the frames are also cut out of the
stream as it is read, in pieces of 64 kB. Processor time, best of ROUNDS: on a busy machine ask for more of them.
"""

import sys
import time
from collections.abc import Callable, Iterable
from functools import partial

import traffic  # first: it puts tests/ on the path
from support.hep_senders import CAPTURED_MS, SENDERS

from missedcall_classifier.policy import Policy
from missedcall_collector.correlation import CorrelationRules
from missedcall_collector.hep import HepStream, read
from missedcall_collector.intake import Intake

NAMES = (
    "kamailio_v1",
    "kamailio_v2",
    "kamailio_v3",
    "opensips_v3",
    "asterisk",
    "sofia_v3",
    "captagent",
    "sngrep_v3",
    "heplify",
    "captagent_compressed",
    "heplify_zipped",
)
TARGET = 120_000
"""Records per second on one core that we promise for uncompressed frames."""
PIECE = 65_536
NOW_MS = CAPTURED_MS + 250
STREAMED = "kamailio_v3"


def best(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the processor time of the fastest of `rounds` runs of each, in seconds.

    All are run in every round: what else the machine does disturbs all alike.
    """
    fastest = dict.fromkeys(work, float("inf"))
    for _ in range(rounds):
        for name, run in work.items():
            begin = time.process_time()
            run()
            fastest[name] = min(fastest[name], time.process_time() - begin)
    return fastest


def intake() -> Intake:
    """Return an intake as the pipeline has it by default."""
    policy = Policy()
    return Intake(CorrelationRules(policy.correlation_headers, policy.call_id_suffixes))


def decoded(frames: Iterable[bytes]) -> None:
    """Decode the frames."""
    for frame in frames:
        read(frame)


def recorded(frames: Iterable[bytes]) -> int:
    """Return how many records the frames become."""
    from_frame = intake().from_frame
    return sum(len(from_frame(frame, NOW_MS)) for frame in frames)


def streamed(data: bytes) -> int:
    """Return how many records the frames of a TCP stream become."""
    stream, from_frame = HepStream(), intake().from_frame
    return sum(
        len(from_frame(frame, NOW_MS))
        for at in range(0, len(data), PIECE)
        for frame in stream.feed(data[at : at + PIECE])
    )


def main(total: int, rounds: int) -> int:
    """Measure and print; return 1 if a frame became no record."""
    heads = [message.head for message in traffic.messages(total)]
    samples = {name: [SENDERS[name](head) for head in heads] for name in NAMES}
    if failed := [name for name, frames in samples.items() if recorded(frames) != total]:
        print(f"frames of {', '.join(failed)} became no record")
        return 1
    stream = b"".join(samples[STREAMED])
    decode_s = best({name: partial(decoded, frames) for name, frames in samples.items()}, rounds)
    record_s = best(
        {name: partial(recorded, frames) for name, frames in samples.items()}
        | {"stream": partial(streamed, stream)},
        rounds,
    )
    mean = sum(map(len, heads)) / total
    print(f"{total:,} messages of {mean:.0f} bytes on average, best of {rounds}, processor time, one core\n")
    print(f"{'sender':<24}{'bytes':>6}{'decode/s':>12}{'record/s':>12}{'us':>7}{'of target':>11}")
    for name, frames in samples.items():
        line(name, sum(map(len, frames)) / total, f"{total / decode_s[name]:,.0f}", total / record_s[name])
    line(f"{STREAMED} over TCP", len(stream) / total, "", total / record_s["stream"])
    return 0


def line(name: str, size: float, decodes: str, records: float) -> None:
    """Print a row."""
    of_target = f"{records / TARGET:.2f} x"
    print(f"{name:<24}{size:>6.0f}{decodes:>12}{records:>12,.0f}{1e6 / records:>7.2f}{of_target:>11}")


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]] + [20_000, 9][len(sys.argv) - 1 :]
    sys.exit(main(*arguments[:2]))
