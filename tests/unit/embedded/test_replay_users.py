"""A file of users: one address of record per line, errors with their line."""

import pytest

from missedcall_classifier.policy_settings import UsersError, read_users


def users(tmp_path, text):
    path = tmp_path / "users.txt"
    path.write_text(text, encoding="utf-8")
    return read_users(path)


def test_one_address_of_record_per_line(tmp_path):
    found = users(tmp_path, "sip:bob@example.com\nsip:carol@example.com\n")

    assert found == {"sip:bob@example.com", "sip:carol@example.com"}


def test_comments_and_empty_lines_do_not_count(tmp_path):
    assert users(tmp_path, "# staff\n\n  \nsip:bob@example.com  # since May\n") == {"sip:bob@example.com"}


def test_a_hash_within_an_address_is_no_comment(tmp_path):
    assert users(tmp_path, "sip:*21#@example.com\n") == {"sip:*21%23@example.com"}


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("bob@example.com", "sip:bob@example.com"),
        ("sips:bob@example.com", "sip:bob@example.com"),
        ("sip:Bob@EXAMPLE.com", "sip:Bob@example.com"),
        ("sip:+49305550100@example.com", "sip:+49305550100@example.com"),
        ("tel:+49305550100", "tel:+49305550100"),
        ("sip:bob@[2001:DB8::1]", "sip:bob@[2001:db8::1]"),
        ("\ufeffsip:bob@example.com", "sip:bob@example.com"),
        ("sip:bob@example.com:5060;user=phone", "sip:bob@example.com"),
        ("sip:+49(30)5550-100@example.com", "sip:+49305550100@example.com"),
    ],
)
def test_an_address_is_read_as_the_records_write_it(tmp_path, line, address):
    assert users(tmp_path, line) == {address}


@pytest.mark.parametrize(
    "line",
    [
        "bob",
        "sip:bob",
        "sip:@example.com",
        '"Bob" <sip:bob@example.com>',
        "bob@example.com, carol@example.com",
        "a b@c",
    ],
)
def test_an_error_names_file_and_line(tmp_path, line):
    with pytest.raises(UsersError, match=r"users\.txt:2: .* is no address of record; expected sip:user@host"):
        users(tmp_path, f"# first\n{line}\n")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsersError, match=r"nobody\.txt: No such file"):
        read_users(tmp_path / "nobody.txt")


def test_bytes_that_are_no_text_are_an_error_of_their_line(tmp_path):
    (tmp_path / "users.txt").write_bytes(b"sip:b\xff\xfeb@example.com\n")

    with pytest.raises(UsersError, match=r"users\.txt:1: "):
        read_users(tmp_path / "users.txt")
