"""Faust as we override it: the private names that `stream/eos.py` relies on, in the version that is pinned."""

import asyncio
import inspect
from importlib import metadata

import faust
import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupAuthorizationFailedError
from faust.tables.recovery import Recovery
from faust.transport import conductor, consumer
from faust.transport.drivers import aiokafka as driver

from missedcall_classifier.policy import Policy
from missedcall_classifier.stream import eos
from missedcall_classifier.stream.app import make_app
from missedcall_classifier.stream.eos import EosApp, EosConsumer, EosTransport, EosWorker
from missedcall_classifier.stream.settings import ClassifierSettings
from missedcall_common.kafka.cut import Cut
from missedcall_common.kafka.settings import KafkaSettings


def test_the_versions_are_those_that_were_read():
    assert metadata.version("faust-streaming") == "0.15.3"
    assert metadata.version("aiokafka") == "0.14.0"


def test_every_commit_comes_through_what_we_override():
    assert list(inspect.signature(driver.Consumer.force_commit).parameters) == list(
        inspect.signature(EosConsumer.force_commit).parameters
    )
    assert "force_commit" in inspect.getsource(consumer.Consumer.commit)
    assert "self.commit(" in inspect.getsource(consumer.Consumer._commit_handler.fun)


def test_partitions_are_taken_over_before_they_are_read():
    source = inspect.getsource(Recovery._resume_streams)

    assert source.index("on_rebalance_complete.send") < source.index("perform_seek")
    assert source.index("perform_seek") < source.index("resume_flow")


def test_where_they_are_read_from_is_asked_where_we_say_it():
    assert "await self.seek_to_committed()" in inspect.getsource(consumer.Consumer.perform_seek)
    assert "seek_to_committed" in vars(EosConsumer)
    assert list(inspect.signature(driver.Consumer.seek_wait).parameters) == ["self", "partitions"]


def test_the_app_uses_our_consumer():
    app = make_app(ClassifierSettings(kafka=KafkaSettings(bootstrap=("127.0.0.1:1",))), Policy(), Cut(1, 48))

    assert isinstance(app, EosApp)
    assert "_new_transport" in vars(faust.App)
    assert isinstance(app._new_transport(), EosTransport)
    assert app._new_transport().Consumer is EosConsumer


def test_what_faust_does_at_its_first_start_is_to_make_folders_and_no_more():
    *_, body = inspect.getsource(faust.App.on_first_start).rpartition('"""')

    assert body.split() == ["self._create_directories()"]
    _, *lines = inspect.getsource(faust.App._create_directories).splitlines()
    assert all(line.endswith(".mkdir(exist_ok=True)") for line in lines)


def test_what_is_kept_of_acknowledged_offsets_is_where_we_forget_it():
    source = inspect.getsource(consumer.Consumer.__init__)

    for name in ("_acked", "_acked_index", "_gap", "_committed_offset"):
        assert f"self.{name} = " in source


def test_a_worker_sets_up_its_log_where_we_prevent_it():
    assert "_setup_logging" in {name for kind in faust.Worker.__mro__ for name in vars(kind)}
    assert "_setup_logging" in vars(EosWorker)


def test_a_worker_waits_at_its_end_only_where_we_prevent_it():
    source = inspect.getsource(faust.Worker._shutdown_loop)

    assert source.index("self._gather_futures()") < source.index("self._gather_all()")
    assert source.index("self._gather_all()") < source.index("self._sentinel_task()")
    assert {"_gather_all", "_sentinel_task", "_setup_logging"} < vars(EosWorker).keys()


def test_each_record_is_handed_over_where_we_save_the_tasks():
    source = " ".join(inspect.getsource(consumer.Consumer._drain_messages).split())

    assert "await self.wait_first( callback(message), self.suspend_flow.wait() )" in source
    assert "wait_first" in vars(EosConsumer)
    assert "_topic_name_index" in inspect.getsource(conductor.Conductor.__init__)
    assert "queue.full()" in inspect.getsource(conductor.ConductorCompiler.build)


def test_why_a_worker_cannot_be_of_its_group_is_where_we_look(monkeypatch):
    class SaidError(Exception):
        pass

    def crash(_, why):
        raise SaidError(why)

    class Consumer:
        refused = GroupAuthorizationFailedError()

    monkeypatch.setattr(eos, "crash", crash)
    monkeypatch.setattr(eos, "WATCH_S", 0.0)
    settings = ClassifierSettings(kafka=KafkaSettings(bootstrap=("127.0.0.1:1",)), application="app")
    app = make_app(settings, Policy(), Cut(2, 48))
    app.consumer = Consumer()

    with pytest.raises(SaidError, match=r"^group app.g2: this user may not Read: grant it"):
        asyncio.run(app._watch_group())

    assert "self._pending_exception = exc" in inspect.getsource(GroupCoordinator._push_error_to_user)
    assert "self._consumer" in inspect.getsource(driver.AIOKafkaConsumerThread._ensure_consumer)
    assert "await self._getmany(" in inspect.getsource(consumer.Consumer._wait_next_records)
    assert "await self._thread.getmany(" in inspect.getsource(consumer.ThreadDelegateConsumer._getmany)


def test_the_name_of_a_worker_is_its_name_in_the_group():
    kafka = KafkaSettings(bootstrap=("127.0.0.1:1",))

    assert (
        make_app(ClassifierSettings(kafka=kafka), Policy(), Cut(1, 48)).conf.consumer_group_instance_id
        is None
    )
    assert (
        make_app(
            ClassifierSettings(kafka=kafka, worker="c-0"), Policy(), Cut(1, 48)
        ).conf.consumer_group_instance_id
        == "c-0"
    )
    assert "group_instance_id=conf.consumer_group_instance_id" in inspect.getsource(
        driver.AIOKafkaConsumerThread._create_worker_consumer
    )
