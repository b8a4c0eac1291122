"""Run a command where nothing can leave the machine, and write down what tried to.

`recorded` runs it in a network namespace of its own (Linux) in which every address of the world is
this machine: whatever is sent, by native code as well as by Python, passes the loopback device and
is read there. Nobody answers, so names are looked up in vain and connections are refused. What is
addressed to the machine itself (127.0.0.1) does not count. The machine has another name there.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

__all__ = ["missing", "recorded"]

_OWN = ["--net", "--uts"]
_ALL_IS_HERE = (
    ["ip", "link", "set", "lo", "up"],
    ["ip", "route", "add", "local", "default", "dev", "lo"],
    ["ip", "-6", "route", "add", "local", "default", "dev", "lo"],
)


@cache
def missing() -> str | None:
    """Say why there can be no such namespace here; None where there can."""
    for tool in ("unshare", "ip"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    done = subprocess.run(
        [*_unshare(), *_ALL_IS_HERE[0]], check=False, capture_output=True, text=True
    )
    return f"no network namespace: {done.stderr.strip()}" if done.returncode else None


def recorded(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], host: str = "elsewhere"
) -> tuple[subprocess.CompletedProcess[str], list[str] | None]:
    """Run a command on a machine called `host`; give how it ended, and to whom it would speak.

    Where there can be no such machine it runs on this one, and None is given.
    """
    told = folder / "told.json"
    alone = missing() is None
    before = [*_unshare(), sys.executable, __file__, str(told), host] if alone else []
    done = subprocess.run(
        [*before, *command],
        cwd=folder,
        env=dict(environment),
        check=False,
        capture_output=True,
        text=True,
    )
    if not alone:
        return done, None
    return done, json.loads(told.read_text()) if told.exists() else ["nothing was recorded"]


def _unshare() -> list[str]:
    # Root needs no user namespace, which containers often forbid.
    return ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), *_OWN]


def _main(told: str, host: str, *command: str) -> int:
    socket.sethostname(host)
    for step in _ALL_IS_HERE:
        subprocess.run(step, check=step[1] != "-6", capture_output=True)
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    wire.bind(("lo", 0))
    wire.settimeout(0.2)
    found: set[str] = set()
    done = threading.Event()

    def listen() -> None:
        while True:
            try:
                packet, (_, protocol, *_rest) = wire.recvfrom(65535)
            except TimeoutError:
                if done.is_set():
                    return
            else:
                found.update(filter(None, [_addressee(packet, protocol)]))

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        return subprocess.run(command, check=False).returncode
    finally:
        done.set()
        listener.join()
        Path(told).write_text(json.dumps(sorted(found)))


def _addressee(packet: bytes, protocol: int) -> str | None:
    """Say to whom a packet goes: the name that is looked up, or address and port."""
    if protocol == 0x0800:
        size, kind = (packet[0] & 15) * 4, packet[9]
        where = socket.inet_ntoa(packet[16:20])
    elif protocol == 0x86DD:
        size, kind = 40, packet[6]
        where = socket.inet_ntop(socket.AF_INET6, packet[24:40])
    else:
        return f"protocol {protocol:#x}"
    if kind not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return None  # ICMP: that nobody is there
    (port,) = struct.unpack("!H", packet[size + 2 : size + 4])
    if kind == socket.IPPROTO_UDP and port == 53:
        return f"name {_name(packet[size + 8 + 12 :])}"
    if kind == socket.IPPROTO_TCP and packet[size + 13] & 0x16 != 0x02:
        return None  # an answer; only who begins is of interest
    if where.startswith("127.") or where == "::1":
        return None
    return f"{'udp' if kind == socket.IPPROTO_UDP else 'tcp'} {where}:{port}"


def _name(question: bytes) -> str:
    labels = []
    while question and question[0]:
        labels.append(question[1 : 1 + question[0]].decode("ascii", "replace"))
        question = question[1 + question[0] :]
    return ".".join(labels)


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
