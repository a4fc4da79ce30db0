"""A gRPC server of another implementation: grpcio. Arguments: address, name, file to note what ends in, and a key and
a certificate to speak TLS.

Methods take and give bytes as they are, so that nothing has to be generated.
"""

import sys
import threading
import time
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

address, name, notes, *secrets = sys.argv[1:]
lock = threading.Lock()


def note(line):
    with lock, open(notes, "a") as file:
        file.write(line + "\n")


def echo(request, context):
    """Answers with what came, the server's name and the seconds that are left."""
    left = context.time_remaining()
    context.set_trailing_metadata((("x-name", name),))
    return request + b" " + name.encode() + (b"" if left is None else b" %.0f" % left)


def count(request, context):
    """As many answers as asked for."""
    for number in range(int(request)):
        yield b"%d" % number


def collect(requests, context):
    """One answer about all that came."""
    sizes = [len(each) for each in requests]
    return b"%d %d" % (len(sizes), sum(sizes))


def chat(requests, context):
    """Answers each while the next is not there yet."""
    for each in requests:
        yield b"you said " + each


def fail(request, context):
    """A status without an answer: all in the trailers."""
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not like \u00e4 this")


def partly(request, context):
    """Answers, and fails after them."""
    yield b"one"
    yield b"two"
    context.abort(grpc.StatusCode.DATA_LOSS, "no more")


def hang(request, context):
    """For as long as its client waits."""
    note("began")
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait(60)
    note("cancelled" if ended.is_set() else "forgotten")
    return b""


def deaf(requests, context):
    """Reads nothing and says nothing."""
    return hang(None, context)


def quiet(request, context):
    """Says something, then nothing for a while, then the rest."""
    yield b"first"
    time.sleep(float(request))
    yield b"last"


def set_health(request, context):
    """The health of a service: `SERVICE STATUS`."""
    service, status = request.decode().split(" ")
    checks.set(service, getattr(health_pb2.HealthCheckResponse, status))
    return b""


def plain(one, many_in=False, many_out=False):
    kind = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[many_in, many_out]
    return kind(one)


options = (("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20))
server = grpc.server(futures.ThreadPoolExecutor(32), options=options)
methods = {
    "Echo": plain(echo),
    "Count": plain(count, many_out=True),
    "Collect": plain(collect, many_in=True),
    "Chat": plain(chat, many_in=True, many_out=True),
    "Fail": plain(fail),
    "Partly": plain(partly, many_out=True),
    "Hang": plain(hang),
    "Deaf": plain(lambda requests, context: iter([deaf(requests, context)]), many_in=True, many_out=True),
    "Quiet": plain(quiet, many_out=True),
    "SetHealth": plain(set_health),
}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("lb.Test", methods),))
if name != "bare":
    checks = health.HealthServicer()
    checks.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
if secrets:
    key, cert = (open(path, "rb").read() for path in secrets)
    credentials = grpc.ssl_server_credentials([(key, cert)])
    assert server.add_secure_port(address, credentials), address
else:
    assert server.add_insecure_port(address), address
server.start()
print("ready", flush=True)
server.wait_for_termination()
