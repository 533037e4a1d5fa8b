"""The rights of the chart's KafkaUser objects suffice: one component at a time has them and no others."""

import asyncio
import sys

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType
from kafka.admin import ACLResourcePatternType as Pattern
from support import chart, kafka_log
from support.classifier_process import ClassifierProcess
from support.collector_process import CollectorProcess

from missedcall_common.kafka.plan import plan
from missedcall_common.kafka.settings import PREFIX, KafkaSettings
from missedcall_common.runtime.settings import from_environment

pytestmark = [pytest.mark.kafka]

CALLEE = "sip:missedcall-test@missedcall.invalid"
KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
}
RIGHTS = {
    "Read": ACLOperation.READ,
    "Write": ACLOperation.WRITE,
    "Describe": ACLOperation.DESCRIBE,
    "DescribeConfigs": ACLOperation.DESCRIBE_CONFIGS,
}


def allow(principal, kind, name, right, pattern=Pattern.LITERAL):
    return ACL(
        principal=f"User:{principal}",
        host="*",
        operation=right,
        permission_type=ACLPermissionType.ALLOW,
        resource_pattern=ResourcePattern(kind, name, pattern),
    )


def rights(environment, component):
    """Return the rights of a component, and one of nobody on everything of ours: what has none is open to all."""
    prefix, application = environment["MISSEDCALL_KAFKA_PREFIX"], environment["MISSEDCALL_APPLICATION"]
    values = chart.changed(
        "keda-strimzi", kafka__prefix=prefix, kafka__partitions=2, classifier__application=application
    )
    values["classifier"]["autoscaling"] = {"type": "none"}
    values["classifier"]["replicas"] = 1
    (user,) = [
        each
        for each in chart.render(values)
        if each["kind"] == "KafkaUser" and each["metadata"]["name"] == f"mc-missedcall-{component}"
    ]
    kafka = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    for topic in plan(from_environment(KafkaSettings, kafka, PREFIX)):
        yield allow("nobody", ResourceType.TOPIC, topic.name, ACLOperation.READ)
    yield allow("nobody", ResourceType.GROUP, application, ACLOperation.READ)
    yield allow(
        "nobody", ResourceType.TRANSACTIONAL_ID, f"{application}-", ACLOperation.WRITE, Pattern.PREFIXED
    )
    for acl in user["spec"]["authorization"]["acls"]:
        resource = acl["resource"]
        pattern = Pattern.PREFIXED if resource["patternType"] == "prefix" else Pattern.LITERAL
        for right in acl["operations"]:
            yield allow("missedcall", KINDS[resource["type"]], resource["name"], RIGHTS[right], pattern)


async def trial(environment, port):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-m", "missedcall_collector.trial"),
        *("--to", f"tcp://127.0.0.1:{port}", "--callee", CALLEE, "--timeout", "60"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("component", ["collector", "classifier", "test"])
def test_a_component_works_with_its_rights_alone(kafka, component):
    environment = kafka_log.environment(kafka, 2)
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.create_acls(list(rights(environment, component)))
    admin.close()
    bound = environment | kafka_log.secured(kafka, "SCRAM-SHA-256")

    def of(name):
        mine = bound if name == component else environment
        if name == "classifier":
            return mine
        return {key: value for key, value in mine.items() if key.startswith(PREFIX)}

    async def scenario():
        async with CollectorProcess(of("collector")) as collector, ClassifierProcess(of("classifier")):
            return await trial(of("test"), (await collector.ports())["tcp"])

    status, out, err = asyncio.run(scenario())

    assert (status, err) == (0, "")
    assert "missed, and its fact is there" in out


def test_without_a_right_it_does_not_work(kafka):
    environment = kafka_log.environment(kafka, 2)
    hidden = f"{environment['MISSEDCALL_KAFKA_PREFIX']}missed-calls"
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    given = rights(environment, "test")
    admin.create_acls(
        [
            each
            for each in given
            if (each.principal, each.resource_pattern.resource_name) != ("User:missedcall", hidden)
        ]
    )
    admin.close()
    bound = {key: value for key, value in environment.items() if key.startswith(PREFIX)}

    status, _, err = asyncio.run(trial(bound | kafka_log.secured(kafka, "SCRAM-SHA-256"), 1))

    assert status == 1
    assert hidden in err
