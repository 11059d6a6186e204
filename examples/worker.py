#!/usr/bin/env python3
"""A worker in Python, standard library only. What goes over the wire: docs/PROTOCOL.md.

    umbel run --share channel -n 2 -- python3 examples/worker.py 8000
"""
import itertools
import json
import os
import socket
import sys

channel = socket.socket(fileno=int(os.environ.pop("UMBEL_CHANNEL")))
numbers = itertools.count()


def send(**message):
    channel.sendall(json.dumps(message).encode() + b"\n")


def cluster(**members):
    send(cmd="NODE_CLUSTER", seq=next(numbers), **members)


def messages():
    """Each message with its descriptor or None. A descriptor waits for the line that names it."""
    rest, waiting = b"", []
    while True:
        data, fds, _, _ = socket.recv_fds(channel, 65536, 16)
        if not data:
            return  # the primary is gone
        waiting += fds
        *whole, rest = (rest + data).split(b"\n")
        for message in map(json.loads, whole):
            fd = None
            if isinstance(message, dict) and message.get("cmd") == "NODE_HANDLE":
                fd = waiting.pop(0) if waiting else None
                send(cmd="NODE_HANDLE_NACK" if fd is None else "NODE_HANDLE_ACK")
                message = message["msg"]
                if fd is None:
                    continue
            yield (message if isinstance(message, dict) else {}), fd


def serve(connection):
    connection.settimeout(10)  # it comes non-blocking
    text = f"hello from slot {os.environ['UMBEL_SLOT']}\n"
    try:
        connection.recv(65536)
        connection.sendall(f"HTTP/1.0 200 OK\r\n\r\n{text}".encode())
    except OSError:
        pass  # the client is gone


address = {"index": 0, "data": None, "address": None, "port": int(sys.argv[1]), "addressType": 4,
           "flags": 0, "backlog": 0}
key = None
cluster(act="online")
cluster(act="queryServer", **address)
for message, fd in messages():
    if "key" in message and "ack" in message:  # the answer to queryServer
        if message.get("errno"):
            sys.exit(os.strerror(-message["errno"]))
        key, address["port"] = message["key"], message["sockname"]["port"]
        cluster(act="listening", **address)
    elif message.get("act") == "newconn":
        cluster(ack=message["seq"], accepted=message["key"] == key)
        with socket.socket(fileno=fd) as connection:
            if message["key"] == key:
                serve(connection)
    elif message.get("act") == "disconnect":
        cluster(act="close", key=key)
        break  # nothing is open: this worker serves one connection at a time
    elif fd is not None:
        os.close(fd)
