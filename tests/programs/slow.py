#!/usr/bin/python3
"""slow.py PORT [term]: a server that knows nothing of umbel, nor how to leave. Says what it is told to by the path:

/MS          the answer, its pid, after so long
/stream/MS   a word each so long, for ever

term: it says on stdout how many requests are in progress when SIGTERM comes, and ends. Else SIGTERM kills it."""
import os
import signal
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

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
        pause = int(ms or what) / 1000
        if what == "stream":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(self.text)
                self.wfile.flush()
                time.sleep(pause)
        time.sleep(pause)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.text)))
        self.end_headers()
        self.wfile.write(self.text)
        self.wfile.flush()

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128


def on_term(*_):
    os.write(1, f"SIGTERM with {in_progress} in progress\n".encode())
    os._exit(0)


if "term" in sys.argv[2:]:
    signal.signal(signal.SIGTERM, on_term)
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
