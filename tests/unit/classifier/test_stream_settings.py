"""What the classifier service, and whoever audits it, reads from the environment."""

import pytest

from missedcall_classifier.policy import Policy
from missedcall_classifier.stream.settings import load
from missedcall_common.runtime.settings import SettingsError

KAFKA = {"MISSEDCALL_KAFKA_BOOTSTRAP": "127.0.0.1:9092"}


def test_without_more_the_policy_is_that_of_a_replay():
    _, policy = load(KAFKA)

    assert policy.digest() == Policy().digest()


def test_users_come_from_their_file_and_its_name_is_no_part_of_the_policy(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).write_text("# ours\nsip:Bob@EXAMPLE.com\n")
    policies = [
        load({**KAFKA, "MISSEDCALL_DECIDE_USERS_FILE": str(tmp_path / name)})[1] for name in ("one", "other")
    ]

    assert policies[0].users == frozenset({"sip:Bob@example.com"})
    assert policies[0].digest() == policies[1].digest() != Policy().digest()


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"USERS_FILE": "/nowhere"}, "MISSEDCALL_DECIDE_USERS_FILE = '/nowhere': /nowhere: No such file"),
        ({"USERS": "sip:bob@example.com"}, "MISSEDCALL_DECIDE_USERS = .*expected them in a file"),
        ({"SETTLE_S": "0"}, "MISSEDCALL_DECIDE_SETTLE_S = 0.0: expected seconds, above 0"),
        ({"CALL_ID_SUFFIXES": "("}, "MISSEDCALL_DECIDE_CALL_ID_SUFFIXES = .*expected regular expressions"),
    ],
)
def test_what_cannot_be_a_policy_is_named_as_the_operator_wrote_it(variables, says):
    with pytest.raises(SettingsError, match=says):
        load({**KAFKA, **{f"MISSEDCALL_DECIDE_{name}": value for name, value in variables.items()}})
