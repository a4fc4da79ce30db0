"""A gRPC client of another implementation: grpcio. Arguments: address, case, and what the case wants.

Prints what the test asks about; any other end is a failure.
"""

import sys
import threading
import time

import grpc

address, case, *rest = sys.argv[1:]
options = (("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20))
channel = grpc.insecure_channel(address, options=options)
one = lambda name: channel.unary_unary("/lb.Test/" + name)
out = lambda name: channel.unary_stream("/lb.Test/" + name)
into = lambda name: channel.stream_unary("/lb.Test/" + name)
both = lambda name: channel.stream_stream("/lb.Test/" + name)


def status(call):
    try:
        call()
        return "OK"
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}"


def unary():
    for number in range(int(rest[0])):
        answer, call = one("Echo").with_call(b"%d" % number, timeout=20)
        trailing = dict(call.trailing_metadata())
        assert answer.startswith(b"%d " % number), answer
        assert trailing["x-name"].encode() in answer, trailing
        print(trailing["x-name"])


def large():
    body = bytes(range(256)) * (int(rest[0]) // 256)
    answer = one("Echo")(body, timeout=60)
    assert answer.startswith(body)
    print(len(answer) > len(body))


def streams():
    print([int(each) for each in out("Count")(b"1000", timeout=20)] == list(range(1000)))
    pieces = [b"x" * 1000] * 500
    print(into("Collect")(iter(pieces), timeout=20).decode())


def chat():
    turn, words = threading.Semaphore(0), [b"one", b"two", b"three"]

    def say():
        for word in words:
            yield word
            turn.acquire()

    for word, answer in zip(words, both("Chat")(say(), timeout=20)):
        assert answer == b"you said " + word, answer
        print(answer.decode())
        turn.release()


def failures():
    print(status(lambda: one("Fail")(b"", timeout=20)))
    got = []
    print(status(lambda: [got.append(each) for each in out("Partly")(b"", timeout=20)]), len(got))
    print(status(lambda: one("Missing")(b"", timeout=20)).split()[0])


def deadline():
    print(status(lambda: one("Hang")(b"", timeout=0.5)).split()[0])
    answer = one("Echo")(b"left", timeout=30)
    print(int(answer.split()[-1]) in range(20, 31))


def cancel():
    call = one("Hang").future(b"", timeout=60)
    time.sleep(float(rest[0]))
    print(call.cancel())


def abandon():
    """Leaves in the middle of a stream that goes both ways, while neither side reads."""
    piece = b"x" * 100_000

    def flood():
        while True:
            yield piece

    call = both("Deaf")(flood(), timeout=60)
    time.sleep(float(rest[0]))
    print(call.cancel())


def quiet():
    print([each.decode() for each in out("Quiet")(rest[0].encode(), timeout=60)])


def once():
    print(status(lambda: one("Echo")(b"x", timeout=20)))


def setting():
    one("SetHealth")(" ".join(rest).encode(), timeout=20)


{
    "unary": unary,
    "large": large,
    "streams": streams,
    "chat": chat,
    "failures": failures,
    "deadline": deadline,
    "cancel": cancel,
    "abandon": abandon,
    "quiet": quiet,
    "once": once,
    "set": setting,
}[case]()
channel.close()
