"""Objects of Strimzi, KEDA and the Prometheus operator, against the definitions that these ship."""

import pytest
from support import chart, crds
from support.chart import CASES, changed, rendered


def _check(found):
    kinds = set()
    for each in found:
        if each["apiVersion"].startswith(crds.GROUPS):
            wrong = list(crds.validator(each["apiVersion"], each["kind"]).iter_errors(each))
            assert [f"{each['kind']}: {error.json_path}: {error.message}" for error in wrong] == []
            kinds.add(each["kind"])
    return kinds


def test_what_a_definition_does_not_know_is_refused():
    crds.needed()
    good = next(each for each in rendered("keda-strimzi") if each["kind"] == "KafkaTopic")

    _check([good])
    with pytest.raises(AssertionError, match="partition"):
        _check([{**good, "spec": {**good["spec"], "partition": 12}}])


@pytest.mark.parametrize(
    ("case", "kinds"),
    [
        ("keda-strimzi", {"KafkaTopic", "KafkaUser", "ScaledObject", "TriggerAuthentication"}),
        ("tls-scram", {"ScaledObject", "TriggerAuthentication"}),
        ("scale", {"KafkaTopic", "KafkaUser", "ScaledObject"}),
        ("observability", {"PodMonitor", "PrometheusRule", "ScaledObject"}),
    ],
)
def test_custom_resources_are_what_their_operators_take(case, kinds):
    crds.needed()

    assert _check(rendered(case)) >= kinds


def test_a_certificate_instead_of_a_password_is_fine_too():
    crds.needed()
    values = changed(
        "keda-strimzi",
        kafka__sasl__mechanism="",
        kafka__tls__clientCertificate=True,
        kafka__tls__ca={"configMap": "ca"},
        strimzi__users__authentication="tls",
    )

    assert "TriggerAuthentication" in _check(chart.render(values))


@pytest.mark.parametrize("case", CASES)
def test_without_a_flag_there_is_nothing_but_kubernetes(case):
    custom = {each["kind"] for each in rendered(case) if "." in each["apiVersion"].partition("/")[0]}

    assert case in ("keda-strimzi", "scale", "tls-scram", "observability") or custom <= {"NetworkPolicy"}


# -- Kafka, as our own code has it ----------------------------------------------------------------------------


def test_strimzi_makes_the_topics_that_our_job_would():
    from missedcall_common.kafka.plan import plan
    from missedcall_common.kafka.settings import KafkaSettings

    for case, prefix, generation in (("keda-strimzi", "", 1), ("keda-strimzi", "lab.", 3)):
        found = chart.render(changed(case, kafka__prefix=prefix, kafka__generation=generation))
        topics = {each["spec"]["topicName"]: each["spec"] for each in found if each["kind"] == "KafkaTopic"}
        wanted = plan(
            KafkaSettings(
                bootstrap=("x:1",), prefix=prefix, generation=generation, partitions=24, channels=("webhook",)
            )
        )
        assert {name: (t["partitions"], t["replicas"], t["config"]) for name, t in topics.items()} == {
            t.name: (t.partitions, t.replicas, t.config) for t in wanted
        }


def test_users_have_the_rights_of_the_list_and_no_other():
    from missedcall_common.kafka.rights import RIGHTS, resource_name
    from missedcall_common.kafka.settings import KafkaSettings

    kafka = KafkaSettings(bootstrap=("x:1",), prefix="lab.", partitions=24, channels=("smtp",))
    groups = {"notifier": "lab.missedcall-notifier-smtp"}
    users = {
        each["metadata"]["name"].removeprefix("mc-missedcall-"): each["spec"]["authorization"]["acls"]
        for each in rendered("scale")
        if each["kind"] == "KafkaUser"
    }

    assert set(users) == {"collector", "classifier", "notifier-smtp", "scale", "test"}
    for user, acls in users.items():
        program = user.partition("-")[0]
        group = groups.get(program, "lab.missedcall-classifier")
        assert acls == [
            {
                "resource": {
                    "type": right.kind,
                    "name": resource_name(right, kafka, group, "smtp"),
                    "patternType": "prefix" if right.prefixed else "literal",
                },
                "operations": list(right.operations),
            }
            for right in RIGHTS[program]
        ]


def test_rights_outlive_another_partition_count():
    """missedcall scale-partitions makes these topics, and the group, anew under their names and `.gN`."""
    for generation in (1, 3):
        prefixed = {
            acl["resource"]["name"]
            for each in chart.render(changed("keda-strimzi", kafka__generation=generation))
            if each["kind"] == "KafkaUser"
            for acl in each["spec"]["authorization"]["acls"]
            if acl["resource"]["type"] != "transactionalId" and acl["resource"]["patternType"] == "prefix"
        }
        assert prefixed == {"sip-transactions", "call-state", "missedcall-classifier"}


# -- while, and after, the log is cut into more partitions ------------------------------------------------------


def managed(found):
    return {
        each["spec"]["topicName"]: each["metadata"]["annotations"].get("strimzi.io/managed", "true")
        for each in found
        if each["kind"] == "KafkaTopic"
    }


def test_strimzi_leaves_the_seal_on_the_log_alone():
    during = managed(rendered("scale"))
    after = managed(chart.render(changed("scale", scalePartitions={}, kafka__cut=CUT)))

    assert during == after
    assert [name for name, value in during.items() if value == "false"] == ["lab.sip-transactions"]
    assert set(managed(rendered("keda-strimzi")).values()) == {"true"}


def test_autoscalers_are_told_where_the_log_goes_on():
    found = chart.render(changed("scale", scalePartitions={}, kafka__cut=CUT))
    triggers = {
        each["metadata"]["name"]: each["spec"]["triggers"][0]["metadata"]
        for each in found
        if each["kind"] == "ScaledObject"
    }

    (trigger,) = triggers.values()
    assert (trigger["topic"], trigger["consumerGroup"]) == (
        "lab.sip-transactions.g2",
        "lab.missedcall-classifier.g2",
    )
    assert "Job" not in {each["kind"] for each in found}


def test_more_workers_fit_once_there_are_more_partitions():
    with pytest.raises(chart.RefusedError, match="48 classifiers for 24 partitions"):
        chart.render(changed("scale", classifier__autoscaling={"type": "none"}, classifier__replicas=48))

    assert chart.render(
        changed("scale", classifier__autoscaling={"type": "none"}, classifier__replicas=48, kafka__cut=CUT)
    )


CUT = {"generation": 2, "partitions": 96}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kafka__cut": {"generation": 1, "partitions": 96}}, "as scale-partitions printed them"),
        ({"kafka__cut": {"generation": 2, "partitions": 24}}, "as scale-partitions printed them"),
        ({"scalePartitions__to": 24}, "expected a multiple of the partitions that there are"),
        ({"classifier__enabled": False}, "scalePartitions needs the classifier"),
    ],
)
def test_a_cut_that_cannot_be_is_refused(changes, said):
    with pytest.raises(chart.RefusedError, match=said):
        chart.render(changed("scale", **changes))


@pytest.mark.parametrize(("step", "words"), [("plan", ["--plan", "--to", "96"]), ("abort", ["--abort"])])
def test_the_job_does_the_step_that_is_wanted(step, words):
    (job,) = [
        each for each in chart.render(changed("scale", scalePartitions__step=step)) if each["kind"] == "Job"
    ]
    (container,) = job["spec"]["template"]["spec"]["containers"]

    assert container["command"][1:] == ["-m", "missedcall_classifier.scale_partitions", *words]
    assert job["metadata"]["name"].startswith(f"mc-missedcall-scale-{step}")


def test_with_other_values_it_is_another_job():
    """Kubernetes lets nobody change the pods of a Job: an upgrade that tries to fails."""

    def job(**changes):
        found = chart.render(changed("scale", **changes))
        (name,) = [each["metadata"]["name"] for each in found if each["kind"] == "Job"]
        return name

    assert job() == job(collector__replicas=5)
    assert (
        len({job(), job(image__tag="0.1.1"), job(kafka__replicas=2), job(scalePartitions__step="plan")}) == 4
    )
