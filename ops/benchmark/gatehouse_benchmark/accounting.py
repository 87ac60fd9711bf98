"""Reads what a run cost: CPU and memory of process trees, the machine's noise, gatehouse's own counters."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass

import httpx

TICKS = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count() or 1


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on; None when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            # The second field is the program's name in parentheses and may hold anything.
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None


def tree(root: int) -> list[int]:
    """A process and everything below it."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))):
            children.setdefault(int(fields[1]), []).append(int(name))
    found = [root]
    for pid in found:   # grows while it is walked
        found += children.get(pid, [])
    return found


def cpu_seconds(root: int) -> float:
    """CPU time of a process tree, user and system, with that of children which have ended and were waited for."""
    total = 0
    for pid in tree(root):
        if fields := _stat(pid):
            total += sum(int(ticks) for ticks in fields[11:15])
    return total / TICKS


def named_child(root: int, words: str) -> int | None:
    """A process below `root` in whose title the words stand, as PostgreSQL writes its sessions' roles there."""
    for pid in tree(root):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                if words in file.read():
                    return pid
        except OSError:
            pass
    return None


def resident_megabytes(root: int) -> float:
    """Memory of a process tree, shared pages counted in proportion (Pss)."""
    total = 0
    for pid in tree(root):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += next((int(line.split()[1]) for line in file if line.startswith("Pss:")), 0)
        except OSError:
            pass
    return total / 1024


def machine_seconds() -> tuple[float, float]:
    """CPU seconds this machine was busy since it started, and those the host took away (steal)."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, interrupts, soft, steal, *_ = (int(word) for word in file.readline().split()[1:])
    return (user + nice + system + interrupts + soft) / TICKS, steal / TICKS


def signatures_per_second(seconds: int = 1) -> float:
    """ES256 signatures per second of one core now: the unit that makes runs on a drifting machine comparable."""
    done = subprocess.run(
        ["openssl", "speed", "-elapsed", "-seconds", str(seconds), "ecdsap256"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
    )
    # The last line: "256 bits ecdsa (nistp256)  0.0000s  0.0000s  61552.0  21270.0", signatures before verifications.
    return float(done.stdout.split()[-2])


@dataclass
class Counters:
    """Gatehouse's counters at one moment, by series name with labels."""

    values: dict[str, float]
    at: float

    @staticmethod
    def read(internal_url: str) -> Counters:
        text = httpx.get(f"{internal_url}/metrics", timeout=10, trust_env=False).raise_for_status().text
        pairs = re.findall(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
        return Counters({name: float(value) for name, value in pairs}, time.monotonic())

    def since(self, before: Counters) -> dict[str, float]:
        """What was added to each counter; series that did not exist before began at zero."""
        return {name: value - before.values.get(name, 0.0) for name, value in self.values.items()}


def summed(counters: dict[str, float], name: str) -> float | None:
    """The sum over all labels of one counter; None when there is no such counter."""
    found = [value for series, value in counters.items() if series.partition("{")[0] == name]
    return sum(found) if found else None


@dataclass
class Clocks:
    """CPU clocks of every process that takes part, and the machine's, at one moment."""

    by_name: dict[str, float]
    busy: float
    steal: float
    at: float

    @staticmethod
    def read(roots: dict[str, int]) -> Clocks:
        # This process is the root of the generator too, whose time is in the result; so count itself alone.
        by_name = {name: cpu_seconds(pid) for name, pid in roots.items()}
        by_name["bench"] = time.process_time()
        return Clocks(by_name, *machine_seconds(), time.monotonic())

    def since(self, before: Clocks) -> dict[str, float]:
        return {name: value - before.by_name[name] for name, value in self.by_name.items()}

    def noise(self, before: Clocks, generator_seconds: float) -> float:
        """Share of all cores that processes used which have no part in the run."""
        # The sequencer's session is in PostgreSQL's sum.
        own = sum(used for name, used in self.since(before).items() if name != "sequencer") + generator_seconds
        return max(0.0, self.busy - before.busy - own) / (self.at - before.at) / CORES

    def stolen(self, before: Clocks) -> float:
        """Share of all cores that the host gave to others."""
        return max(0.0, self.steal - before.steal) / (self.at - before.at) / CORES


@dataclass
class Outbox:
    """Audit events that are committed and not yet in their logs."""

    rows: int
    lag_seconds: float

    @staticmethod
    def read(database_url: str) -> Outbox:
        """As the database sees it; needs a role that row-level security does not bind."""
        query = (
            "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(recorded_at)), 0) FROM audit_outbox"
        )
        done = subprocess.run(
            ["psql", "-X", "-tA", "-F", " ", database_url, "-c", query], capture_output=True, text=True, check=True
        )
        rows, lag = done.stdout.split()
        return Outbox(int(rows), float(lag))

    @staticmethod
    def await_empty(database_url: str, within: float) -> tuple[Outbox, float]:
        """Waits until the sequencer has nothing left: the last look, and the seconds it took."""
        started = time.monotonic()
        while True:
            outbox = Outbox.read(database_url)
            waited = time.monotonic() - started
            if outbox.rows == 0 or waited > within:
                return outbox, waited
            time.sleep(0.1)


def joined(parts: Iterable[str]) -> str:
    return "  ".join(part for part in parts if part)
