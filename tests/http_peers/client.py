"""Python's own clients: http.client with keep-alive and chunks, and a WebSocket by hand. Prints `fine`."""

import http.client
import os
import struct
import socket
import sys

address, port = sys.argv[1].split(":")

connection = http.client.HTTPConnection(address, int(port), timeout=20)
connection.connect()
own = connection.sock
for size in (0, 1, 70_000, 3_000_000):
    body = os.urandom(size)
    pieces = (body[at : at + 4096] for at in range(0, size, 4096))
    connection.request("POST", "/from-python", body=pieces, headers={"Transfer-Encoding": "chunked"}, encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 200 and b"coding=chunked" in response.read(), response.status
    with open(os.path.join(sys.argv[2], "from-python"), "rb") as file:
        assert file.read() == body, size
    connection.request("HEAD", "/")
    response = connection.getresponse()
    assert response.status == 200 and response.read() == b"" and response.headers["Content-Length"] == "12345"
    connection.request("GET", "/chunked")
    response = connection.getresponse()
    assert response.read().count(b"\n") == 1000
assert connection.sock is own, "one connection all along"

tunnel = socket.create_connection((address, int(port)), timeout=20)
stream = tunnel.makefile("rwb")
stream.write(
    b"GET /socket HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
stream.flush()
head = []
while (line := stream.readline().strip()) != b"":
    head.append(line.lower())
assert head[0].startswith(b"http/1.1 101"), head
assert b"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in head, head
assert stream.read(7) == b"\x81\x05hello"
for size in (1, 125, 126, 60_000):
    data, mask = os.urandom(size), os.urandom(4)
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
    length = bytes([128 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
    stream.write(b"\x82" + length + mask + masked)
    stream.flush()
    expected = b"\x82" + (bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size)) + data
    assert stream.read(len(expected)) == expected, size
stream.write(b"\x88\x80\x00\x00\x00\x00")
stream.flush()
assert stream.read() == b"", "the end of one side is the end of the other"
print("fine")
