"""A plain http server: its pid; /health: 200 once the file DIRECTORY/ok.$UMBEL_WORKER is there, until then 503.
Takes a socket that it finds open (sd_listen_fds(3)).

    health.py HOST PORT DIRECTORY"""
import http.server
import os
import socket
import sys

host, port, directory = sys.argv[1:]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        well = os.path.exists(f"{directory}/ok.{os.environ['UMBEL_WORKER']}")
        self.send_response(200 if well or self.path != "/health" else 503)
        self.end_headers()
        self.wfile.write(b"%d" % os.getpid())
        if self.path == "/health":
            print("is well" if well else "is not well yet", flush=True)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in host else socket.AF_INET


given = "LISTEN_FDS" in os.environ
server = Server((host, int(port)), Handler, bind_and_activate=not given)
if given:
    server.socket = socket.socket(fileno=3)
    server.socket.setblocking(True)
    os.set_inheritable(3, False)
server.serve_forever()
