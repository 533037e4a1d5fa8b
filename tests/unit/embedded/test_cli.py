"""The command as a shell sees it: words in, streams and an exit status out."""

import os
import pty
import signal
import socket
import subprocess

import pytest
from support import ladder
from support.command import missedcall, start

from missedcall_collector.pcap_writer import write_pcap
from missedcall_embedded.cli import main

CANCELLED = """
0.000  alice>proxy>bob.1   INVITE bob
0.200  bob.1>proxy>alice   180
9.400  alice>proxy>bob.1   CANCEL
9.420  bob.1>proxy>alice   487
"""


@pytest.fixture
def capture(tmp_path):
    trace = ladder.parse(CANCELLED)
    path = tmp_path / "cancelled.pcap"
    write_pcap(path, trace.messages())
    return path


def test_without_a_command_it_says_how_it_is_used():
    done = missedcall()

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: missedcall")


def test_help_lists_every_command():
    done = missedcall("--help")

    assert done.returncode == 0
    assert all(
        f"\n    {name} " in done.stdout for name in ("replay", "explain", "run", "send", "audit", "demo")
    )


def test_it_knows_its_version():
    done = missedcall("--version")

    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "missedcall", "")


def test_python_m_is_the_same_command():
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "missedcall_embedded", "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout == missedcall("--version").stdout


@pytest.mark.parametrize(
    "words",
    [
        ("replay",),
        ("replay", "x.pcap", "--format", "xml"),
        ("replay", "x.pcap", "--verd"),
        ("replay", "x.pcap", "--zone", "Mars/Olympus"),
        ("explain", "x.pcap"),
        ("send", "x.pcap"),
        ("send", "x.pcap", "--to", "127.0.0.1:9060"),
        ("send", "x.pcap", "--to", "udp://127.0.0.1:9060", "--speed", "0"),
        ("send", "x.pcap", "--to", "udp://127.0.0.1:9060", "--rate", "nan"),
        ("send", "x.pcap", "--to", "udp://127.0.0.1:9060", "--rate", "5", "--speed", "2"),
        ("demo", "x.pcap"),
        ("audit", "--boot", "127.0.0.1:9092"),
        ("redrive", "--plan", "--execute"),
    ],
)
def test_bad_usage_is_exit_2_and_said_on_standard_error(words, capsys):
    status = main(words)

    told = capsys.readouterr()
    assert (status, told.out) == (2, "")
    assert told.err.startswith("usage: missedcall")


@pytest.mark.parametrize("words", [("replay", "CAPTURE"), ("--help",), ("--version",)])
def test_a_reader_that_went_away_is_no_error(capture, words):
    process = start(*(capture if word == "CAPTURE" else word for word in words))
    process.stdout.close()

    assert (process.wait(30), process.stderr.read()) == (141, "")
    process.stderr.close()


def test_an_interrupt_is_exit_130_and_no_trace_back(capture):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        process = start(
            "send", capture, "--to", f"udp://127.0.0.1:{receiver.getsockname()[1]}", "--rate", "1"
        )
        receiver.recv(65535)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)

    assert (process.returncode, out, err) == (130, "", "")


def test_a_terminal_that_cannot_show_a_character_does_not_end_the_work(tmp_path):
    trace = ladder.parse("user bob sip:bö@example.com\n" + CANCELLED)
    write_pcap(tmp_path / "umlaut.pcap", trace.messages())

    done = missedcall("replay", tmp_path / "umlaut.pcap", env={"PYTHONIOENCODING": "ascii"})

    assert done.returncode == 0
    assert "caller-cancelled" in done.stdout


def test_a_terminal_gets_a_table_of_its_width(capture):
    ours, theirs = pty.openpty()
    process = start("replay", capture, stdout=theirs, env={"COLUMNS": "70", "TERM": "xterm"})
    os.close(theirs)
    status = process.wait(30)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    process.stderr.close()

    assert status == 0
    assert max(len(line.rstrip("\r")) for line in shown.split("\n")) <= 70
    assert "RULE" not in shown
