"""Many clients in one thread: each connects, from an address of its own if told so, says something, and reads
until the end; the answer's last line is the pid of who served it. For tests that want to know of every connection;
load alone is made by wrk and ab. Loopback only."""
import errno
import selectors
import socket
import threading
import time
from collections import Counter, defaultdict, namedtuple

from harness import SLOW

REQUEST = b"GET / HTTP/1.0\r\n\r\n"
IP_BIND_ADDRESS_NO_PORT = 24

Answer = namedtuple("Answer", "pid source seconds")
Load = namedtuple("Load", "requests failed seconds said")  # as of tests/torture/load.py


def addresses(count, network=1):
    """That many of the loopback: 127.NETWORK.x.y, no two alike."""
    return [f"127.{network}.{1 + i // 250}.{1 + i % 250}" for i in range(count)]


class Client:
    """One connection. say: when it is connected, or speak_s later."""

    def __init__(self, host, port, source, say, speak_s):
        self.source, self.say, self.speak_s, self.said = source, say, speak_s, b""
        self.began, self.speak_at = time.monotonic(), None
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.setblocking(False)
        if source:
            self.socket.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            self.socket.bind((source, 0))
        error = self.socket.connect_ex((host, port))
        if error != errno.EINPROGRESS and error:
            self.socket.close()
            raise OSError(error, f"connect: {errno.errorcode[error]}")

    def connected(self):
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, f"connect: {errno.errorcode[error]}")
        self.speak_at = time.monotonic() + self.speak_s

    def read(self):
        """True: it is over, and the answer is whole."""
        chunk = self.socket.recv(1 << 16)
        self.said += chunk
        if chunk:
            return False
        if not self.said.endswith(b"\n") or self.said.endswith(b"\r\n"):  # of a head without its body
            raise OSError(errno.ECONNABORTED, f"the end after {self.said[-60:]!r}")
        return True

    def answer(self):
        return Answer(int(self.said.split()[-1]), self.source, time.monotonic() - self.began)


class Crowd:
    """go(count) sends so many, `parallel` at a time. They come from `sources`, in turn (None: any address).
    answers: of whom was served; failures: texts; waiting: those who have not been told yet."""

    def __init__(self, port, parallel=16, sources=(None,), say=REQUEST, speak_s=0, host="127.0.0.1"):
        self.to, self.parallel, self.sources = (host, port), parallel, list(sources)
        self.say, self.speak_s, self.started = say, speak_s, 0
        self.selector, self.waiting = selectors.DefaultSelector(), set()
        self.answers, self.failures = [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _start(self):
        source = self.sources[self.started % len(self.sources)]
        self.started += 1
        try:
            client = Client(*self.to, source, self.say, self.speak_s)
        except OSError as failure:
            self.failures.append(f"{source}: {failure}")
            return
        self.waiting.add(client)
        self.selector.register(client.socket, selectors.EVENT_WRITE, client)

    def _end(self, client):
        self.waiting.remove(client)
        self.selector.unregister(client.socket)
        client.socket.close()

    def _look(self, client, events):
        try:
            if events & selectors.EVENT_WRITE:
                client.connected()
                self.selector.modify(client.socket, selectors.EVENT_READ, client)
                if not client.speak_s:
                    client.socket.sendall(client.say)
            elif client.read():
                self.answers.append(client.answer())
                self._end(client)
        except OSError as failure:
            self.failures.append(f"{client.source}: {failure or type(failure).__name__}")
            self._end(client)

    def _speak(self):
        """Those who speak late."""
        now = time.monotonic()
        for client in [c for c in self.waiting if c.speak_at and c.speak_at <= now]:
            client.speak_at = None
            try:
                client.socket.sendall(client.say)
            except OSError as failure:
                self.failures.append(f"{client.source}: {failure}")
                self._end(client)

    def turn(self, timeout=0.05):
        """What has happened, at the latest after timeout."""
        for key, events in self.selector.select(0.005 if self.speak_s else timeout):
            self._look(key.data, events)
        if self.speak_s:
            self._speak()

    def go(self, count=0, leave=0, timeout=30):
        """Until so many more were sent and at most `leave` of all wait for an answer."""
        end, last = time.monotonic() + timeout * SLOW, self.started + count
        while self.started < last or len(self.waiting) > leave:
            while self.started < last and len(self.waiting) < self.parallel:
                self._start()
            self.turn()
            assert time.monotonic() < end, (
                f"waited {timeout * SLOW} s: {len(self.answers)} answered, {len(self.waiting)} wait, "
                f"{len(self.failures)} failed, {last - self.started} were not sent")
        return self

    def pids(self, first=0):
        """Counter of who has answered, from that answer on."""
        return Counter(answer.pid for answer in self.answers[first:])

    def by_source(self, first=0):
        """{source: set of pids}"""
        found = defaultdict(set)
        for answer in self.answers[first:]:
            found[answer.source].add(answer.pid)
        return dict(found)

    def p99(self):
        return sorted(answer.seconds for answer in self.answers)[int(len(self.answers) * 0.99)]

    def close(self):
        for client in list(self.waiting):
            self._end(client)
        self.selector.close()


class Stream(threading.Thread):
    """A crowd that goes on in a thread until stop(): a client of the torture runs, too."""

    def __init__(self, port, parallel=16, **how):
        super().__init__(daemon=True)
        self.crowd, self.over = Crowd(port, parallel, **how), threading.Event()
        self.began, self.error = time.monotonic(), None
        self.start()

    def run(self):
        try:
            while not self.over.is_set():
                self.crowd.go(1, leave=self.crowd.parallel - 1)
            self.crowd.go()
        except Exception as error:  # told by stop()
            self.error = error

    def stop(self):
        """Load, once those under way have been answered."""
        self.over.set()
        self.join()
        crowd = self.crowd
        crowd.close()
        if self.error:
            raise self.error
        said = "\n".join(crowd.failures[:10])
        return Load(crowd.started, len(crowd.failures), time.monotonic() - self.began, said)

    def kill(self):
        self.over.set()
        self.join()
        self.crowd.close()
