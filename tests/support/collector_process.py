"""`python -m missedcall_collector` as a process, and what it wrote to Kafka."""

import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping

from kafka import KafkaConsumer, TopicPartition
from support.pipeline_process import PipelineProcess

from missedcall_schemas.codec import decode_batch
from missedcall_schemas.records import CaptureBatch, SipMessage


class CollectorProcess(PipelineProcess):
    """One collector. Use as an async context manager; whatever happens inside, it does not outlive it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(
            (sys.executable, "-m", "missedcall_collector"),
            {
                "PATH": os.environ["PATH"],
                "MISSEDCALL_LISTEN_UDP": "127.0.0.1:0",
                "MISSEDCALL_LISTEN_TCP": "127.0.0.1:0",
                "MISSEDCALL_LISTEN_COLLECTOR": "c1",
                "MISSEDCALL_REPORT_S": "0.2",
                **environment,
            },
        )

    async def counted(self, **at_least: int) -> dict[str, int]:
        """Wait until the counters named (`_` for `-`) are at least so high; return all of the last line."""
        wanted = {name.replace("_", "-"): count for name, count in at_least.items()}

        def enough() -> bool:
            lines = self.named("counters.reported")
            return bool(lines) and all(lines[-1]["counts"].get(name, 0) >= n for name, n in wanted.items())

        await self.until(enough)
        return dict(self.named("counters.reported")[-1]["counts"])


class Topic:
    """What is in a topic of batches."""

    def __init__(self, bootstrap: str, name: str) -> None:
        consumer = KafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
        try:
            partitions = [
                TopicPartition(name, number) for number in sorted(consumer.partitions_for_topic(name))
            ]
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            ends = consumer.end_offsets(partitions)
            self.batches: dict[int, list[CaptureBatch]] = defaultdict(list)
            """By partition, in order."""
            while any(consumer.position(partition) < end for partition, end in ends.items()):
                for partition, records in consumer.poll(timeout_ms=1000).items():
                    self.batches[partition.partition] += [decode_batch(record.value) for record in records]
        finally:
            consumer.close()

    def messages(self) -> dict[int, list[SipMessage]]:
        """Return the messages by partition, in order."""
        return {
            partition: [message for batch in batches for message in batch.messages]
            for partition, batches in self.batches.items()
        }

    def call_ids(self) -> list[str]:
        """Return the Call-ID of each message."""
        return [message.call_id for messages in self.messages().values() for message in messages]


def missing_numbers(batches: Iterable[CaptureBatch]) -> int:
    """Return how many numbers are missing in a partition's sequence; fail if one is repeated or goes back."""
    expected = missing = 0
    for batch in batches:
        assert batch.sequence >= expected
        missing += batch.sequence - expected
        expected = batch.sequence + 1
    return missing


async def read_topic(bootstrap: str, name: str) -> Topic:
    """Read a topic without holding up the event loop."""
    return await asyncio.to_thread(Topic, bootstrap, name)


async def send_tcp(port: int, frames: Iterable[bytes]) -> None:
    """Send frames over one connection."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    for frame in frames:
        writer.write(frame)
        await writer.drain()
    writer.close()
    await writer.wait_closed()
