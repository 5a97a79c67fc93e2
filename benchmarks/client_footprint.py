"""What a process pays for a client: seconds until it is ready to call, and resident memory.

    python benchmarks/client_footprint.py [--rounds 15] [--json]

Each measurement is a fresh Python process that imports the SDK, opens a client, and has one answer
from a fake gateway in another process. Between them, processes that only import grpc say what the
SDK's only large dependency costs on this machine. Kinds take turns; figures are medians, and the
spread is given as the lowest and the highest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

REPORT = """
def resident(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))
print(json.dumps(dict(ready=ready, resident=resident("VmRSS"), peak=resident("VmHWM"),
                      loaded=[m for m in ("numpy", "tensorflow") if m in sys.modules])))
"""

PROGRAMS = {
    "import grpc": """
import time; started = time.perf_counter()
import grpc
ready = time.perf_counter() - started
import json, sys
""",
    "Client": """
import time; started = time.perf_counter()
import heliograph, sys
client = heliograph.Client(sys.argv[1])
ready = time.perf_counter() - started
client.classify(b"image")
import json
""",
    "AsyncClient": """
import time; started = time.perf_counter()
import heliograph, sys
client = heliograph.AsyncClient(sys.argv[1])
ready = time.perf_counter() - started
import asyncio, json
async def call():
    await client.classify(b"image")
    await client.close()
asyncio.run(call())
""",
}

SERVE = """
import sys
from heliograph.testing import FakeGateway
with FakeGateway() as gateway:
    print(gateway.target, flush=True)
    sys.stdin.read()
"""


def measure(program: str, target: str) -> Any:
    """Run one process and return what it reports."""
    command = [sys.executable, "-c", program + REPORT, target]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def summary(runs: list[Any]) -> dict[str, Any]:
    """Return medians and spreads."""
    ready = [run["ready"] for run in runs]
    return {
        "ready_s": round(statistics.median(ready), 3),
        "ready_s_spread": [round(min(ready), 3), round(max(ready), 3)],
        "resident_mb": round(statistics.median(run["resident"] for run in runs) / 1e6, 1),
        "peak_mb": round(statistics.median(run["peak"] for run in runs) / 1e6, 1),
        "loaded": sorted({name for run in runs for name in run["loaded"]}),
    }


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    runs: dict[str, list[Any]] = {name: [] for name in PROGRAMS}
    try:
        assert server.stdout is not None
        target = server.stdout.readline().strip()
        for program in PROGRAMS.values():
            measure(program, target)  # fills the caches of the file system
        for _ in range(arguments.rounds):
            for name, program in PROGRAMS.items():
                runs[name].append(measure(program, target))
    finally:
        server.terminate()
        server.wait()
    results = {name: summary(measured) for name, measured in runs.items()}
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{'process':<12}  {'ready':>7}  {'spread':>15}  {'resident':>9}  {'peak':>8}  loaded")
    for name, row in results.items():
        low, high = row["ready_s_spread"]
        print(
            f"{name:<12}  {row['ready_s']:>5} s  {low:>5} … {high:>5} s  "
            f"{row['resident_mb']:>6} MB  {row['peak_mb']:>5} MB  {', '.join(row['loaded']) or '-'}"
        )


if __name__ == "__main__":
    main()
