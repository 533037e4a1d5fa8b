"""Dead letters on Kafka, looked up and asked to be tried again. Blocks: for a command.

Rule 1: what is dead now is for the journal to say; a letter stays, whatever became of its delivery.
Rule 2: the journal has one writer, and it is not this: what is to live again is asked for on `notify-redrive`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from missedcall_common.kafka.client import KafkaUnusableError, connection
from missedcall_common.kafka.plan import name_of
from missedcall_common.kafka.settings import KafkaSettings
from missedcall_notifier.delivery import Delivery, State, decode
from missedcall_notifier.redrive import Selection
from missedcall_notifier.repeats import after_of
from missedcall_schemas.topics import TOPICS

from .letters import DeadDelivery, LetterError, read_letter, request
from .writer import read

CONNECT_MS = 10_000
PATIENCE_MS = 30_000


class DeadLetters:
    """The letters that are meant, by delivery id, the last of each."""

    def __init__(self, settings: KafkaSettings, selection: Selection) -> None:
        """Read them, and the journals that they came from.

        Raises:
            KafkaUnusableError: Kafka does not answer, or refuses.
            SettingsError: a file for TLS or the password's cannot be used.
        """
        self._settings = settings
        self._connection = connection(settings, "missedcall-redrive")
        self.count = 0
        """Letters of deliveries, meant or not."""
        self.dead: dict[str, tuple[DeadDelivery, Delivery]] = {}
        """Those that are meant and whose delivery is still as dead as the letter says."""
        try:
            found = self._letters(selection)
            journals = {(letter.channel, letter.part) for letter, _ in found.values()}
            held = {name: self._held(*name, found) for name in sorted(journals)}
        except KafkaError as error:
            raise KafkaUnusableError(f"Kafka: {error}"[:500]) from error
        overtaken = {
            name
            for there in held.values()
            for one in there.values()
            for name in (one.supersedes, after_of(one))
        }
        for name, (letter, delivery) in found.items():
            now_is = held[letter.channel, letter.part].get(name)
            still = now_is is None or (now_is.state is State.DEAD and now_is.version == delivery.version)
            if still and name not in overtaken:
                self.dead[name] = (letter, delivery)

    def ask(self, now: float) -> int:
        """Ask for all of them to be tried again; return how many.

        Raises:
            KafkaUnusableError: Kafka does not take it; some may be asked for.
        """
        topic = name_of("notify-redrive", self._settings)
        try:
            producer = KafkaProducer(
                **self._connection,
                acks="all",
                bootstrap_timeout_ms=CONNECT_MS,
                max_block_ms=PATIENCE_MS,
                delivery_timeout_ms=PATIENCE_MS,
                request_timeout_ms=CONNECT_MS,
                allow_auto_create_topics=False,
            )
            try:
                sent = [
                    producer.send(topic, request(letter, now), key=name.encode())
                    for name, (letter, _) in self.dead.items()
                ]
                for future in sent:
                    future.get(PATIENCE_MS / 1000)
            finally:
                producer.close()
        except KafkaError as error:
            raise KafkaUnusableError(f"Kafka: {error}"[:500]) from error
        return len(self.dead)

    def _letters(self, selection: Selection) -> dict[str, tuple[DeadDelivery, Delivery]]:
        found: dict[str, tuple[DeadDelivery, Delivery]] = {}
        for value in self._values(name_of("dead-letters", self._settings)):
            try:
                letter = read_letter(value)
                delivery = letter.delivery()
            except LetterError:
                continue  # the classifier's, or a newer release's
            self.count += 1
            before = found.get(delivery.delivery_id)
            if selection.means(delivery) and (before is None or before[1].version <= delivery.version):
                found[delivery.delivery_id] = (letter, delivery)
        return found

    def _held(self, channel: str, part: int, wanted: Iterable[str]) -> dict[str, Delivery]:
        """Return what a journal says of all deliveries that are wanted, or correct or follow one that is."""
        settings = self._settings
        topic = TOPICS["notify-journal-{channel}"].full_name(
            prefix=settings.prefix, generation=settings.generation, channel=channel
        )
        names = set(wanted)
        return {
            delivery.delivery_id: delivery
            for delivery in map(decode, read(self._connection, topic, part).deliveries)
            if not names.isdisjoint((delivery.delivery_id, delivery.supersedes, after_of(delivery)))
        }

    def _values(self, topic: str) -> Iterator[bytes]:
        consumer: Any = KafkaConsumer(
            **self._connection,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            bootstrap_timeout_ms=CONNECT_MS,
            metrics_enabled=False,
        )
        try:
            parts = [TopicPartition(topic, part) for part in sorted(consumer.partitions_for_topic(topic))]
            if not parts:
                raise KafkaUnusableError(
                    f"topic {topic} is missing: create it with `python -m missedcall_common.kafka`"
                )
            consumer.assign(parts)
            consumer.seek_to_beginning(*parts)
            ends = consumer.end_offsets(parts, timeout_ms=PATIENCE_MS)
            while any(consumer.position(one, timeout_ms=PATIENCE_MS) < end for one, end in ends.items()):
                for records in consumer.poll(timeout_ms=1_000).values():
                    for record in records:
                        yield record.value or b""
        finally:
            consumer.close(autocommit=False, timeout_ms=CONNECT_MS)
