"""A worker that speaks on its channel by itself, and says there what nobody should when it is told to.
It serves on a port of 127.0.0.1 (each connection is told its id) and sends messages back; the message
["do", KIND] is one of the functions below, ["next", KIND] what it does to the next descriptor."""
import json
import os
import socket
import sys

fd = int(os.environ.get("UMBEL_CHANNEL") or os.environ["NODE_CHANNEL_FD"])
worker_id = os.environ.get("UMBEL_WORKER") or os.environ["NODE_UNIQUE_ID"]
channel = socket.socket(fileno=fd)
seq = iter(range(1 << 31))
ACK, NACK = {"cmd": "NODE_HANDLE_ACK"}, {"cmd": "NODE_HANDLE_NACK"}
ADDRESS = {"address": "127.0.0.1", "port": 0, "addressType": 4, "index": 0, "data": None, "backlog": 0}


def write(text, *fds):
    data = text.encode() if isinstance(text, str) else text
    if fds:
        sent = socket.send_fds(channel, [data], fds)
        data = data[sent:]
    channel.sendall(data)


def say(value, *fds):
    write(json.dumps(value) + "\n", *fds)


def cluster(**message):
    say({"cmd": "NODE_CLUSTER", "seq": next(seq), **message})


def handle(kind, message, *fds):
    say({"cmd": "NODE_HANDLE", "type": kind, "msg": message}, *fds)


def open_file():
    return os.open(sys.argv[0], os.O_RDONLY | os.O_CLOEXEC)


# ---- what nobody should say ----

def garbage(): write("this is not JSON\n")
def empty(): write("\n")
def broken(): write('{"cmd":"NODE_CLUSTER","act":\n')
def binary(): write(b"\xff" * 4096 + b"\n")
def two_values(): write('{"a":1} {"b":2}\n')
def duplicate_keys(): write('{"cmd":"NODE_CLUSTER","act":"online","act":"close","key":"a","key":"b"}\n')
def duplicate_query(): cluster(act="queryServer", **ADDRESS)
def no_act(): cluster()
def wrong_types(): cluster(act="queryServer", address=7, port="x", addressType={}, index=[])
def no_seq(): say({"cmd": "NODE_CLUSTER", "act": "queryServer", **ADDRESS, "index": 9})
def spare_ack(): say(ACK)
def spare_nack(): say(NACK)
def spare_accepted(): cluster(ack=12345, accepted=True)
def spare_close(): cluster(act="close", key="no such key")
def unknown_act(): cluster(act="whatever")
def unknown_command(): say({"cmd": "NODE_WHATEVER", "act": "queryServer"})
def wrong_key(): cluster(act="close", key=[])
def as_primary(): cluster(act="newconn", key="a")
def told_to_leave(): cluster(act="disconnect")
def unknown_type(): handle("no.Such", "x", channel.fileno())
def type_of_number(): handle(7, "x", channel.fileno())
def regular_file(): handle("net.Socket", "x", open_file())
def regular_server(): handle("net.Server", "x", open_file())
def regular_dgram(): handle("dgram.Socket", "x", open_file())
def native(): handle("net.Native", {"cmd": "NODE_CLUSTER", "act": "online", "seq": 1}, channel.fileno())
def no_descriptor(): handle("net.Socket", "x")
def two_descriptors(): handle("net.Socket", "x", 0, 1)
def stray_descriptor(): say("with a stray", open_file())
def no_message(): say({"cmd": "NODE_HANDLE", "type": "net.Socket"}, channel.fileno())
def handle_in_handle(): handle("net.Socket", {"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": 1}, 1)
def ack_in_handle(): handle("net.Socket", ACK, 1)
def count_of_nothing(): say({"cmd": "NODE_SOCKET_GET_COUNT", "key": "no such key"})
def count_of_no_key(): say({"cmd": "NODE_SOCKET_GET_COUNT", "key": {"a": 1}})
def close_of_nothing(): say({"cmd": "NODE_SOCKET_NOTIFY_CLOSE", "key": "no such key"})
def close_of_no_key(): say({"cmd": "NODE_SOCKET_NOTIFY_CLOSE"})
def count_unasked(): say({"cmd": "NODE_SOCKET_COUNT", "key": "x", "count": -1})


def count_of_long_key(): say({"cmd": "NODE_SOCKET_GET_COUNT", "key": "x" * 5000})


def deaf():
    """Asks, and never reads an answer."""
    question = json.dumps({"cmd": "NODE_SOCKET_GET_COUNT", "key": "x" * 1000}) + "\n"
    while True:
        write(question * 100)


def hoard():
    """Asks for shared sockets, gives each one up again and acknowledges none."""
    errors = []
    for index in range(100):
        cluster(act="queryServer", **{**ADDRESS, "index": 1 + index})
        answer, fds = next(incoming)
        answer = answer.get("msg", answer)
        errors.append(answer["errno"])
        if fds:
            cluster(act="close", key=answer["key"])
            os.close(fds[0])
    say({"shared": errors.count(0), "last": errors[-1]})


def many_strays():
    for _ in range(300):
        say(0, 0)


# ---- what it does to descriptors ----

def good(ack):
    say(ACK)
    if ack is not None:
        cluster(ack=ack, accepted=True)
    return True


def refuse(ack):
    say(ACK)
    cluster(ack=ack, accepted=False)


def nack(ack): say(NACK)
def mute(ack): pass


def mute_for_good(ack):
    global next_way
    next_way = mute_for_good


def bounce(ack):
    """Closes the address, so that it has not refused, and asks for it again. In one write: when two have
    closed at once, nobody is left, and that ends the connection."""
    global next_way
    next_way = bounce
    messages = [ACK, {"act": "close", "key": own_key}, {"ack": ack, "accepted": False},
                {"act": "queryServer", **ADDRESS}]
    write("".join(json.dumps({"cmd": "NODE_CLUSTER", "seq": next(seq), **m}) + "\n" for m in messages))


def ack_twice(ack):
    say(ACK)
    return good(ack)


def accept_first(ack):
    cluster(ack=ack, accepted=True)
    say(ACK)


def accept_twice(ack):
    good(ack)
    cluster(ack=ack, accepted=True)
    return True


next_way = good
own_key = None


def on_handle(message, fds):
    global next_way
    way, next_way = next_way, good
    ack = message.get("seq") if isinstance(message, dict) and message.get("act") == "newconn" else None
    if way(ack) and ack is not None:
        os.write(fds[0], f"{worker_id}\n".encode())
    if way is not good:
        say(f"did {way.__name__}")
    for descriptor in fds:
        os.close(descriptor)


def on_line(message, fds):
    global next_way, own_key
    cmd = message.get("cmd", "") if isinstance(message, dict) else ""
    if cmd == "NODE_HANDLE":
        on_handle(message["msg"], fds)
    elif cmd == "NODE_CLUSTER" and message.get("act") == "disconnect":
        sys.exit(0)
    elif cmd == "NODE_CLUSTER" and message.get("ack") == 1:
        own_key = message["key"]
        cluster(act="listening", **{**ADDRESS, "port": message["sockname"]["port"]})
    elif cmd.startswith("NODE_"):
        say({"heard": {k: v for k, v in message.items() if k != "seq"}})
    elif isinstance(message, list) and message[0] == "do":
        globals()[message[1]]()
    elif isinstance(message, list) and message[0] == "next":
        next_way = globals()[message[1]]
        say("as told")
    else:
        say(message)


def lines():
    """Each message with the descriptors that belong to it."""
    rest, waiting = b"", []
    while True:
        data, fds, _, _ = socket.recv_fds(channel, 1 << 16, 16)
        if not data:
            return
        waiting += fds
        *whole, rest = (rest + data).split(b"\n")
        for line in map(json.loads, whole):
            is_handle = isinstance(line, dict) and line.get("cmd") == "NODE_HANDLE"
            yield line, [waiting.pop(0)] if is_handle and waiting else []


cluster(act="online")
cluster(act="queryServer", **ADDRESS)
incoming = lines()
for message, fds in incoming:
    on_line(message, fds)
