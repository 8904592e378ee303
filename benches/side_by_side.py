#!/usr/bin/env python3
"""Times runtimes side by side, in one run and in turns, and prints medians and ratios.

  side_by_side.py --title TEXT --version v1|v2 --dir DIR --runs N NAME=PATH...

Called by scripts/bench, inside the mount namespace to measure in. DIR has `rootfs` and the bundles `true` (its
ENTRYPOINT is /bin/true), `echo` (says "it ran") and `loop` (runs until SIGTERM). The runtime called `floor` is benches/floor.c, with its own command line.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import time

# What design promises, as a multiple of another column.
GOALS = {
    ("run", "v2"): {"crun": 0.6, "runc": 0.2, "floor": 2.0},
    ("run", "v1"): {"crun": 0.95},
    ("exec", "v2"): {"crun": 0.7},
    ("exec", "v1"): {"crun": 0.7},
}
WARM_UP = 3
DEVNULL = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def spawn(command, output=DEVNULL):
    actions = [(os.POSIX_SPAWN_DUP2, DEVNULL, 0), (os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    return os.posix_spawnp(command[0], command, os.environ, file_actions=actions)


def timed(command):
    """Milliseconds from the spawn of COMMAND to its end, which has to be 0."""
    start = time.perf_counter()
    _, status = os.waitpid(spawn(command), 0)
    took = (time.perf_counter() - start) * 1000
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {code}")
    return took


def in_turns(commands, runs):
    """{name: milliseconds of each run}; every round runs all of them once, in an order of its own."""
    times = {name: [] for name in commands}
    for number in range(-WARM_UP, runs):
        for name in random.sample(sorted(commands), len(commands)):
            took = timed(commands[name](number))
            if number >= 0:
                times[name].append(took)
    return times


class Runtime:
    def __init__(self, name, path, directory):
        self.name, self.path, self.dir = name, path, directory
        self.state = os.path.join(directory, "state", name)
        self.pid = None

    def run(self, number):
        return self.run_bundle("true", f"bench-{self.name}-{number + WARM_UP}", ["/bin/true"])

    def run_bundle(self, bundle, container, program):
        """The command that runs BUNDLE, whose ENTRYPOINT is PROGRAM."""
        if self.name == "floor":
            return [self.path, "run", os.path.join(self.dir, "rootfs"), container, *program]
        return [self.path, "--root", self.state, "run", "--bundle", os.path.join(self.dir, bundle), container]

    def exec(self, _):
        if self.name == "floor":
            return [self.path, "exec", str(self.pid), "/bin/true"]
        return [self.path, "--root", self.state, "exec", f"bench-{self.name}-loop", "/bin/true"]

    def start_loop(self):
        """Starts the container that `exec` is timed in, and sets its pid."""
        pid_file = os.path.join(self.dir, f"{self.name}.pid")
        command = [self.path, "--root", self.state, "run", "--detach", "--pid-file", pid_file,
                   "--bundle", os.path.join(self.dir, "loop"), f"bench-{self.name}-loop"]
        subprocess.run(command, check=True, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
        with open(pid_file) as file:
            self.pid = int(file.read())

    def stop_loop(self):
        subprocess.run([self.path, "--root", self.state, "delete", "--force", f"bench-{self.name}-loop"],
                       stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, check=False)


def works(runtime):
    """Whether RUNTIME can run a program here, seen by what the program says; tells why not."""
    command = runtime.run_bundle("echo", f"bench-{runtime.name}-echo", ["/bin/echo", "it ran"])
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode == 0 and result.stdout == "it ran\n":
        return True
    print(f"{runtime.name} is left out: {' '.join(command)}: exit code {result.returncode}: "
          f"{(result.stderr or result.stdout).strip()[:500]}", file=sys.stderr)
    return False


def table(title, what, version, times):
    """Median, fastest and slowest, and how many times each other column fits into a row's median."""
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"\n{title}: {what} (ms)")
    others = [name for name in ("floor", "crun", "runc") if name in medians]
    print(f"  {'':8} {'median':>8} {'min':>8} {'p90':>8}" + "".join(f"{'/ ' + name:>9}" for name in others))
    for name in ("floor", "bookend", "crun", "runc"):
        if name not in times:
            continue
        values = sorted(times[name])
        print(f"  {name:8} {medians[name]:8.2f} {values[0]:8.2f} {values[int(len(values) * 0.9)]:8.2f}"
              + "".join(f"{medians[name] / medians[other]:9.2f}" for other in others))
    for other, goal in GOALS[what.split()[0], version].items():
        if "bookend" in medians and other in medians:
            ratio = medians["bookend"] / medians[other]
            print(f"  goal: at most {goal} x {other}: {'met' if ratio <= goal else 'missed'} ({ratio:.2f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--title", required=True)
    parser.add_argument("--version", choices=["v1", "v2"], required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("runtimes", nargs="+", metavar="NAME=PATH")
    args = parser.parse_args()
    runtimes = [Runtime(*pair.split("=", 1), args.dir) for pair in args.runtimes]
    runtimes = [runtime for runtime in runtimes if works(runtime)]

    table(args.title, "run /bin/true", args.version, in_turns({r.name: r.run for r in runtimes}, args.runs))

    loops = [runtime for runtime in runtimes if runtime.name != "floor"]
    try:
        for runtime in loops:
            runtime.start_loop()
        for runtime in runtimes:
            if runtime.name == "floor" and loops:
                runtime.pid = loops[0].pid
        table(args.title, "exec /bin/true", args.version, in_turns({r.name: r.exec for r in runtimes}, args.runs))
    finally:
        for runtime in loops:
            runtime.stop_loop()


if __name__ == "__main__":
    main()
