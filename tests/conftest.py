"""Fixtures that several folders use."""

import gc
import os
import signal
from collections.abc import Iterator

import pytest
from kafka_nodes import Cluster, KafkaMissingError

# `make test &`: a shell has what it starts so ignore the signal, and what tests start would ignore it, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Cluster]:
    """A real Kafka of one node, for all tests of a worker; mark them `kafka`, which puts them on one worker."""
    try:
        cluster = Cluster.create(watch=os.getpid(), quick=True, secure=True)
    except KafkaMissingError as error:
        pytest.skip(str(error))
    gc.collect()
    gc.freeze()  # what is imported by now is not looked through after each test, below: 0.3 s each
    yield cluster
    gc.unfreeze()
    cluster.remove()


# kafka-python 3.0.12 leaves the socket of a connection it gave up to the garbage collector.
LEFT_SOCKETS = "ignore:Exception ignored in. <(socket|ssl.SSLSocket):pytest.PytestUnraisableExceptionWarning"


@pytest.fixture(autouse=True)
def _left_sockets(request: pytest.FixtureRequest) -> Iterator[None]:
    """Collect what a test with Kafka leaves behind while its warnings are still laid to that test."""
    yield
    if request.node.get_closest_marker("kafka"):
        gc.collect()


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("kafka"):
            item.add_marker(pytest.mark.xdist_group("kafka"))
            item.add_marker(pytest.mark.filterwarnings(LEFT_SOCKETS))
