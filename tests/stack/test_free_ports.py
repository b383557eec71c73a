"""Ports for servers to come: no two of them the same, whichever process asks."""

import socket
import subprocess
import sys

from stack.serving import LOOPBACK, free_port

ASK = "from stack.serving import free_port; print(free_port(), flush=True); input()"


def test_two_programs_are_given_ports_of_different_thousands() -> None:
    command = [sys.executable, "-c", ASK]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other,
    ):
        assert one.stdout is not None
        assert other.stdout is not None
        given = [int(one.stdout.readline()), int(other.stdout.readline()), free_port()]
        one.communicate(b"\n")
        other.communicate(b"\n")

    assert len({port // 1000 for port in given}) == 3


def test_a_port_on_which_somebody_listens_is_left_out() -> None:
    with socket.create_server((LOOPBACK, free_port() + 10)) as taken:
        assert free_port() != taken.getsockname()[1]
