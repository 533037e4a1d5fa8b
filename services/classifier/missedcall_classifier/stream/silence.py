"""When time has to go on although no collector says so: all of them are dead, or cut off.

Each batch carries its collector's clock, and one without messages comes each second; calls end by them. Where none
comes for long, the worker that has the partition writes such a batch itself, into the log, so that whoever decides
the log again comes to the same.

Rule 1: silence is what is seen without a break: Kafka was asked every few seconds, and had nothing more. While it
        cannot be asked, collectors hold back what they have, and what comes then is not to be too late.
"""

QUIET_S = 60.0
"""Silence after which time goes on. Less: a collector that restarts slowly, or lost Kafka for a moment, finds its
calls decided without what it holds. More: with all collectors dead, calls that ring are told later. Above the
engine's `IDLE_COLLECTOR_S`, below which it would change nothing."""

UNBROKEN_S = 5.0
"""At most between two looks. Less: a busy worker never sees silence. More: an absence of Kafka looks like one."""


class Silence:
    """Of each partition, by a clock of its owner that never goes back."""

    def __init__(self) -> None:
        self._heard: dict[int, int] = {}
        self._since: dict[int, float] = {}
        self._looked: dict[int, float] = {}

    def quiet(self, heard: dict[int, int]) -> list[int]:
        """Return where nothing was heard since the last call: there Kafka has to be asked whether it has more.

        Args:
            heard: batches of collectors so far, of each partition that is ours.
        """
        before, self._heard = self._heard, heard
        found = [partition for partition, count in heard.items() if before.get(partition) == count]
        for partition in self._since.keys() - set(found):
            del self._since[partition], self._looked[partition]
        return found

    def looked(self, partition: int, now_s: float, *, empty: bool) -> bool:
        """Take note of an answer; return whether time has to go on there.

        Args:
            partition: a quiet one.
            now_s: now, seconds.
            empty: whether Kafka had no record that is not decided.
        """
        last_s = self._looked.get(partition, float("-inf"))
        self._looked[partition] = now_s
        if not empty or now_s - last_s > UNBROKEN_S:
            self._since[partition] = now_s
        return now_s - self._since[partition] >= QUIET_S
