"""Says to $NOTIFY_SOCKET, as sd_notify(3), what it reads from a FIFO: lines "WHO TEXT", TEXT as Python's
bytes. WHO: self; child; orphan (its parent is gone); fallen (a child that is another
user by now, and lives on); barrier (as sd_notify_barrier(3): waits until its descriptors are closed).

    notify.py FIFO"""
import array
import os
import signal
import socket
import sys


def say(text, descriptors=()):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        s.sendmsg([text], [rights] if descriptors else [], 0, "\0" + os.environ["NOTIFY_SOCKET"][1:])


def in_child(f):
    child = os.fork()
    if child == 0:
        f()
        os._exit(0)
    os.waitpid(child, 0)


def orphan(text):
    reading, writing = os.pipe()
    parent = os.getpid()

    def leave():
        me = os.getpid()
        if os.fork() == 0:
            while os.getppid() in (me, parent):
                pass
            say(text)
            os.write(writing, b"x")
            os._exit(0)

    in_child(leave)
    os.read(reading, 1)


def fallen(text):
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setresuid(65534, 65534, 65534)
        say(text)
        os.write(writing, b"x")
        signal.pause()
    os.read(reading, 1)


def barrier(text):
    reading, writing = os.pipe()
    say(text, [writing, writing, writing])
    os.close(writing)
    os.read(reading, 1)  # the end


WAYS = {"self": say, "child": lambda text: in_child(lambda: say(text)), "orphan": orphan,
        "fallen": fallen, "barrier": barrier}

print("begins", flush=True)
with open(sys.argv[1]) as lines:
    for line in lines:
        who, text = line.rstrip("\n").split(" ", 1)
        WAYS[who](eval(text))
        print("said", flush=True)
