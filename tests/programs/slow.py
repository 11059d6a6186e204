#!/usr/bin/python3
"""slow.py PORT [WORD...]: a server that knows nothing of umbel, nor how to leave. Says what it is told to by the path:

/MS          the answer, its pid, after so long
/wait        the same when the client has sent a byte more
/parts/MS    its head at once, the rest after so long
/stream/MS   a word each so long, for ever

Words: `term`: it says on stdout how many requests are in progress when SIGTERM comes, and ends; else SIGTERM kills it.
`fd`: its socket is descriptor 3, a unix one.
`pipe`: SIGPIPE kills it, as a program in C. `fork`: a process for each connection. `defer`: TCP_DEFER_ACCEPT. `hides`:
who is not root may not look at it. `background`: it goes there, in a session of its own, before it listens. `stays`: it
ignores SIGTERM. `late`: it accepts connections 4 s after it listens."""
import ctypes
import os
import signal
import socket
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

PR_SET_DUMPABLE = 4

in_progress, lock = 0, threading.Lock()


def count(by):
    global in_progress
    with lock:
        in_progress += by


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one write for an answer
    text = f"{os.getpid()}\n".encode()

    def do_GET(self):
        count(1)
        try:
            self.answer(*self.path.split("/")[1:])
        except ConnectionError:
            self.close_connection = True
        finally:
            count(-1)

    def answer(self, what, ms=None):
        pause = 0 if what == "wait" else int(ms or what) / 1000
        if what == "stream":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(self.text)
                self.wfile.flush()
                time.sleep(pause)
        if what == "wait":
            self.rfile.read(1)
        time.sleep(0 if what == "parts" else pause)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.text)))
        self.end_headers()
        if what == "parts":
            self.wfile.flush()
            time.sleep(pause)
        self.wfile.write(self.text)
        self.wfile.flush()

    def log_message(self, *_):
        pass


class Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True


def serve(port, words):
    kind = socketserver.ForkingTCPServer if "fork" in words else Threads
    kind.allow_reuse_address, kind.request_queue_size = True, 128
    server = kind(("127.0.0.1", port), Handler, bind_and_activate="fd" not in words)
    if "fd" in words:
        server.socket.close()
        server.socket = socket.socket(fileno=3)
        server.socket.set_inheritable(False)
    if "defer" in words:
        server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
    if "hides" in words:
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    if "late" in words:
        time.sleep(4)
    server.serve_forever()


def on_term(*_):
    os.write(1, f"SIGTERM with {in_progress} in progress\n".encode())
    os._exit(0)


def go_into_background():
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    Handler.text = f"{os.getpid()}\n".encode()


if "background" in sys.argv[2:]:
    go_into_background()
if "stays" in sys.argv[2:]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "pipe" in sys.argv[2:]:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
if "term" in sys.argv[2:]:
    signal.signal(signal.SIGTERM, on_term)
serve(int(sys.argv[1]), sys.argv[2:])
