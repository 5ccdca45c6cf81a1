"""Run all benchmarks, one after the other, each in its own process.

python benchmarks/run.py [--quick]
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ALL = {  # script: what makes it quick; the aims are for the full size
    "overhead.py": ["--papers", "10", "--iterations", "200"],
    "throughput.py": ["--in-flight", "64", "--papers", "64", "--bare-calls", "1000"],
    "aimd.py": ["--seconds", "4"],
    "savings.py": ["--iterations", "2"],
    "durability.py": ["--pairs", "1"],
    "recorded.py": ["--starts", "1"],
}


def main() -> int:
    """Run them; the exit status is that of the first that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute in all, coarser figures")
    quick = parser.parse_args().quick
    for script, smaller in ALL.items():
        print(f"\n== {script}", flush=True)
        options = smaller if quick else []
        done = subprocess.run([sys.executable, str(HERE / script), *options], check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
