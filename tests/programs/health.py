"""A plain http server: its pid; /health: 200 once the file DIRECTORY/ok.$UMBEL_WORKER is there, until then 503.

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


Server((host, int(port)), Handler).serve_forever()
