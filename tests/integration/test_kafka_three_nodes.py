"""Three nodes: one is killed under load and nothing is lost; and the tool leaves nothing behind."""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import kafka_nodes
import pytest
from kafka_nodes import Cluster
from support import hep_calls
from support.collector_process import CollectorProcess, Topic, missing_numbers, send_tcp

from missedcall_common.kafka.__main__ import main as create_topics

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]

PATIENCE_S = 60.0
OWNER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from kafka_nodes import Cluster, KafkaMissingError
try:
    print(Cluster.create(3, watch=os.getpid(), quick=True).folder, flush=True)
except KafkaMissingError as error:
    print(error, flush=True)
sys.stdin.read()
"""


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def owned():
    """Yield a cluster and the process that it must not outlive."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(Path(kafka_nodes.__file__).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        said = owner.stdout.readline().strip()
        if not said.startswith("/"):
            owner.kill()
            pytest.skip(said)
        yield Cluster(Path(said)), owner
        owner.kill()


async def kill_under_load(cluster, environment, sent):
    third = len(sent) // 3
    async with CollectorProcess(environment) as collector:
        port = (await collector.ports())["tcp"]
        await send_tcp(port, sent[:third])
        await collector.counted(published=third)
        cluster.kill(2)
        await send_tcp(port, sent[third : 2 * third])
        await collector.counted(published=2 * third)
        assert [cluster.running(node) for node in (1, 2, 3)] == [True, False, True]
        await asyncio.to_thread(cluster.start, 2)
        await send_tcp(port, sent[2 * third :])
        await collector.counted(published=len(sent))
        assert await collector.terminate() == 0


def test_a_node_killed_under_load_costs_nothing_and_nothing_outlives_the_owner(owned):
    cluster, owner = owned
    environment = {"MISSEDCALL_KAFKA_BOOTSTRAP": cluster.bootstrap, "MISSEDCALL_KAFKA_PARTITIONS": "6"}
    assert create_topics([], environment) == 0
    sent = [frame for _, frame in hep_calls.frames(600, 1000.0)]

    asyncio.run(kill_under_load(cluster, environment, sent))

    topic = Topic(cluster.bootstrap, "sip-transactions")
    assert Counter(topic.call_ids()) == Counter(m.call_id for m in hep_calls.in_time(600, 1000.0))
    assert [missing_numbers(batches) for batches in topic.batches.values()] == [0] * 6
    owner.kill()
    until(lambda: not any(cluster.running(node) for node in (1, 2, 3)))
    until(lambda: not cluster.folder.exists())
    cluster.remove()  # reaps the node that this process started
