"""random: kills, stops, reloads and scales, whenever and in whatever order, under load. At the end
everything is as at the start, and what `umbel status` says is what the kernel says."""
import os
import random
import signal
import time
from collections import Counter

from app import NAME, OPTIONS, App, children
from harness import wait_until
from load import Wrk, loading

WORKERS = 4
MOST = 6


class Monkey:
    """Does one thing after the other to an app, each chosen by chance."""

    def __init__(self, app):
        self.app, self.wanted = app, WORKERS
        self.done, self.reloads, self.statuses = Counter(), [], Counter()
        self.stopped = {}  # pid: when it goes on

    def any_worker(self):
        """Any of them, the starting and the leaving ones too. None: there is none right now."""
        workers = self.app.status()["workers"]
        return random.choice(workers)["pid"] if workers else None

    def signal_worker(self, number):
        pid = self.any_worker()
        try:
            if pid:
                os.kill(pid, number)
        except ProcessLookupError:
            pid = None
        return pid

    def kill(self):
        self.signal_worker(signal.SIGKILL)

    def term(self):
        self.signal_worker(signal.SIGTERM)

    def halt(self):
        pid = self.signal_worker(signal.SIGSTOP)
        if pid:
            self.stopped[pid] = time.monotonic() + random.uniform(0, 0.8)

    def reload(self):
        if len(self.reloads) < 2:  # the second one waits for the first
            self.reloads.append(self.app.start("reload", NAME))

    def hang_up(self):
        self.app.run.send(signal.SIGHUP)

    def scale(self):
        self.wanted = random.randint(1, MOST)
        self.app.scale(self.wanted)

    def one_more(self):
        if self.wanted < MOST:
            self.wanted += 1
            self.app.run.send(signal.SIGTTIN)

    def one_fewer(self):
        if self.wanted > 1:
            self.wanted -= 1
            self.app.run.send(signal.SIGTTOU)

    ACTIONS = {kill: 4, term: 2, halt: 2, reload: 2, hang_up: 1, scale: 2, one_more: 2, one_fewer: 2}

    def go_on(self, now):
        for pid, when in list(self.stopped.items()):
            if when <= now:
                del self.stopped[pid]
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass

    def collect(self):
        for reload in [r for r in self.reloads if r.poll() is not None]:
            self.reloads.remove(reload)
            said = reload.communicate()[0]
            self.statuses[reload.returncode] += 1
            # 4: undone, for instance because the new worker was killed.
            assert reload.returncode in (0, 4), f"reload: {reload.returncode}\n{said}"

    def act(self):
        (action,) = random.choices(list(self.ACTIONS), self.ACTIONS.values())
        action(self)
        self.done[action.__name__] += 1

    def run(self, seconds):
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            assert self.app.run.process.poll() is None, "umbel run has ended"
            self.act()
            pause = now + random.choice([0, 0.05, 0.3, 1])
            while (now := time.monotonic()) < pause:
                self.go_on(now)
                self.collect()
                time.sleep(0.01)
        self.go_on(float("inf"))

    def settle(self):
        """Back to how it began; a last reload has to succeed."""
        def over():
            self.collect()
            return not self.reloads

        wait_until(over, "the reloads under way", 60)
        self.app.scale(WORKERS)
        self.app.wait_settled(WORKERS, 60)
        self.app.reload()
        return self.app.wait_settled(WORKERS, 60)

    def end(self):
        self.go_on(float("inf"))
        for reload in self.reloads:
            reload.kill()
            reload.communicate()


def compare(app, status):
    """The status and the kernel agree, and every slot is there."""
    workers = {w["pid"] for w in status["workers"]}
    have = children(app.pid)
    assert "Z" not in have.values(), f"zombies: {have}"
    assert set(have) == workers, f"status knows {sorted(workers)}, the kernel {have}"
    slots = [w["slot"] for w in status["workers"]]
    assert sorted(slots) == sorted(set(slots)) and len(slots) == WORKERS, f"slots {slots}"
    generations = {w["generation"] for w in status["workers"]}
    assert generations == {status["generation"]}, f"generations {generations} after the last reload"


def resident_kb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def under_load(kind, seconds):
    with App(kind, workers=WORKERS, options=[*OPTIONS, "--grace", "5s"]) as app:
        app.wait_settled(WORKERS)
        before, memory = app.descriptors(), resident_kb(app.pid)
        monkey = Monkey(app)
        clients = [Wrk(app.port, closes, 16) for closes in (False, True)]
        with loading(*clients):
            try:
                monkey.run(seconds)
                status = monkey.settle()
            finally:
                monkey.end()
            loads = [client.stop() for client in clients]
        # The last of the closed connections are finished in a moment.
        status = app.wait_settled(WORKERS)
        compare(app, status)
        spare = len(status["slots"])  # the socket that the next successor of each gets
        wait_until(lambda: app.descriptors() <= before + spare,
                   f"the primary's descriptors ({before} at the start, {app.descriptors()} now)")
        living = {str(w["pid"]) for w in status["workers"]}
        taken = sum(app.in_hand(pid) for pid in os.listdir(app.logs) if pid not in living)
        text = (f"{sum(monkey.done.values())} actions ("
                + ", ".join(f"{name} {n}" for name, n in sorted(monkey.done.items()))
                + f"), reloads {monkey.statuses[0]} good {monkey.statuses[4]} undone; "
                f"{sum(load.requests for load in loads)} requests, "
                f"{sum(load.failed for load in loads)} failed, the dead had taken {taken}; "
                f"descriptors {before} and {app.descriptors()}, "
                f"resident {memory} and {resident_kb(app.pid)} kB")
        deaths = monkey.done["kill"] + monkey.done["term"]
        # As in kills.py: 8 is one lane message.
        assert sum(load.failed for load in loads) <= taken + 8 * -(-deaths // 100), \
            "\n".join([text, *(load.said for load in loads)])
    return text


def run(say, seconds, seed):
    random.seed(seed)
    say(f"seed {seed}")
    for kind in ("node", "c"):
        say(f"{kind}: {under_load(kind, seconds / 2)}")
    return f"{seconds:.0f} s, seed {seed}"
