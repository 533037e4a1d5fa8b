"""Faust as we override it: the private names that `stream/eos.py` relies on, in the version that is pinned."""

import inspect
from importlib import metadata

import faust
from faust.tables.recovery import Recovery
from faust.transport import consumer
from faust.transport.drivers import aiokafka as driver

from missedcall_classifier.policy import Policy
from missedcall_classifier.stream.app import make_app
from missedcall_classifier.stream.eos import EosApp, EosConsumer, EosTransport, EosWorker
from missedcall_classifier.stream.settings import ClassifierSettings
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


def test_the_app_uses_our_consumer():
    app = make_app(ClassifierSettings(kafka=KafkaSettings(bootstrap=("127.0.0.1:1",))), Policy())

    assert isinstance(app, EosApp)
    assert "_new_transport" in vars(faust.App)
    assert isinstance(app._new_transport(), EosTransport)
    assert app._new_transport().Consumer is EosConsumer


def test_what_is_kept_of_acknowledged_offsets_is_where_we_forget_it():
    source = inspect.getsource(consumer.Consumer.__init__)

    for name in ("_acked", "_acked_index", "_gap", "_committed_offset"):
        assert f"self.{name} = " in source


def test_a_worker_sets_up_its_log_where_we_prevent_it():
    assert "_setup_logging" in {name for kind in faust.Worker.__mro__ for name in vars(kind)}
    assert "_setup_logging" in vars(EosWorker)
