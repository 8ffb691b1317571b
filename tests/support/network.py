"""Hosts of one machine: network namespaces on a bridge, each with an address, which share nothing but the network."""

import os
import shutil
import subprocess
from collections.abc import Sequence

# A private range that hardly anybody's own network has; the third number is the process's, for two networks at once.
_RANGE = "10.211"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def may_make_networks() -> bool:
    """Whether this machine lets us: `ip` is there (Debian's iproute2), and we may make namespaces and links."""
    if shutil.which("ip") is None:
        return False
    name = f"probe-{os.getpid()}"
    try:
        _ip("netns", "add", name)
        _ip("netns", "delete", name)
    except subprocess.CalledProcessError:
        return False
    return True


class Network:
    """A bridge, at which the hub listens, and hosts by name. `close` takes all of it away."""

    def __init__(self) -> None:
        number = os.getpid()
        self._net = f"{_RANGE}.{number % 250 + 1}"
        self._mark = f"r{number}"
        self._bridge = f"{self._mark}b"
        self.hub = f"{self._net}.1"
        self._hosts: dict[str, int] = {}
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self.hub}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    def add(self, host: str) -> None:
        """A host that reaches the hub and the other hosts, and nobody else."""
        number = self._hosts[host] = len(self._hosts) + 2
        space, outside, inside = self._space(host), self._link(host), f"{self._mark}i{number}"
        _ip("netns", "add", space)
        _ip("link", "add", outside, "type", "veth", "peer", "name", inside)
        _ip("link", "set", outside, "master", self._bridge, "up")
        _ip("link", "set", inside, "netns", space)
        _ip("-n", space, "address", "add", f"{self._net}.{number}/24", "dev", inside)
        _ip("-n", space, "link", "set", inside, "up")
        _ip("-n", space, "link", "set", "lo", "up")

    def command(self, host: str, command: Sequence[str]) -> list[str]:
        """The command, on that host."""
        return ["ip", "netns", "exec", self._space(host), *command]

    def cut(self, host: str) -> None:
        """Pull the host's cable: packets are lost, and nobody is told."""
        _ip("link", "set", self._link(host), "down")

    def mend(self, host: str) -> None:
        """Plug it in again."""
        _ip("link", "set", self._link(host), "up")

    def close(self) -> None:
        for host in self._hosts:
            # Its links go with it.
            subprocess.run(["ip", "netns", "delete", self._space(host)], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", self._bridge], check=False, capture_output=True)

    def _space(self, host: str) -> str:
        return f"{self._mark}-{host}"

    def _link(self, host: str) -> str:
        return f"{self._mark}o{self._hosts[host]}"
