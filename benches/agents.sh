#!/bin/sh
# What N agents cost on one machine: memory, idle CPU, bytes a second on the wire, each per agent.
#
#   benches/agents.sh N [lb-agent|serf]
#
# Runs in a network namespace of its own (needs root, ip and nft), so that its loopback carries nothing else; bytes are
# those of IP packets to and from port 7946. The first member is an `lb` with lb-agent, and a serf agent with serf. Programs come from
# target/release/lb, target/agent/lb-agent (the README's two builds) and PATH. Starts with the fewest surprises: no
# service behind the agents, no checks by them.
#
#   STARTS_AT_ONCE=5      no more than so many agents that have not joined yet; without it all start together
#   SETTLE=45             seconds of calm before the measurement
#   SECONDS_MEASURED=60   its length
set -eu
count=$1 program=${2:-lb-agent} seconds=${SECONDS_MEASURED:-60}
here=$(cd "$(dirname "$0")/.." && pwd)

if [ -z "${AGENTS_INSIDE:-}" ]; then
    AGENTS_INSIDE=1 exec unshare --net "$0" "$count" "$program"
fi
ip link set lo up
nft -f - <<'NFT'
table inet measured {
    counter datagrams {}
    counter segments {}
    chain out {
        type filter hook output priority 0;
        udp dport 7946 counter name datagrams
        tcp dport 7946 counter name segments
        tcp sport 7946 counter name segments
    }
}
NFT
work=$(mktemp -d)
pids=
first=
trap 'kill $pids $first 2>/dev/null; wait; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

address() { echo "127.1.$(($1 / 200)).$(($1 % 200 + 1))"; }

start() {
    at=$(address "$1")
    if [ "$program" = serf ]; then
        join=
        [ "$1" -eq 0 ] || join="-join=$(address 0)"
        serf agent -node="n$1" -bind="$at" -rpc-addr="$at:7373" -tag role=web -tag port=8080 $join
    elif [ "$1" -eq 0 ]; then
        "$here/target/release/lb" --cluster web --node front --bind "$at:7946" --rpc-addr "$at:7373" \
            --listen "$at:8080" --admin 127.0.0.1:9901 --state-dir none --discover off
    else
        "$here/target/agent/lb-agent" --role web --port 8080 --node "n$1" --bind "$at:7946" \
            --rpc-addr "$at:7373" --join "$(address 0)" --state-dir none --discover off
    fi > "$work/$1.log" 2>&1 &
}

alive() {
    if [ "$program" = serf ]; then
        serf members -rpc-addr="$(address 0):7373" | grep -c alive
    else
        curl -s http://127.0.0.1:9901/metrics | sed -n 's/^lb_gossip_members{.*status="alive".*} //p'
    fi
}

# Waits until the first agent knows so many, and a second more for what they tell one another.
joined() {
    until [ "$(alive)" -ge "$1" ]; do sleep 0.5; done
    sleep 1
}

# Ticks of user and system time of all agents but the first, as the kernel counts them (100 a second).
ticks() { for pid in $pids; do cut -d' ' -f14,15 "/proc/$pid/stat"; done | awk '{t += $1 + $2} END {print t}'; }
bytes() { nft list counter inet measured "$1" | sed -n 's/.*bytes \([0-9]*\).*/\1/p'; }

start 0
first=$!
sleep 1
began=$(date +%s.%N)
number=1
while [ "$number" -lt "$count" ]; do
    start "$number"
    pids="$pids $!"
    number=$((number + 1))
    [ -z "${STARTS_AT_ONCE:-}" ] || [ $((number % STARTS_AT_ONCE)) -ne 0 ] || joined "$number"
done
started=$(date +%s.%N)
until [ "$(alive)" = "$count" ]; do
    sleep 0.2
    if [ "$(date +%s)" -gt $((${began%.*} + 180)) ]; then
        echo "only $(alive) of $count after 180 s" >&2
        exit 1
    fi
done
met=$(date +%s.%N)
sleep "${SETTLE:-45}"
cpu=$(ticks) udp=$(bytes datagrams) tcp=$(bytes segments)
sleep "$seconds"
cpu=$(($(ticks) - cpu)) udp=$(($(bytes datagrams) - udp)) tcp=$(($(bytes segments) - tcp))
for pid in $pids; do sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status"; done | sort -n > "$work/rss"
awk -v n="$count" -v s="$seconds" -v cpu="$cpu" -v udp="$udp" -v tcp="$tcp" -v what="$program" \
    -v started="$started" -v met="$met" '
    { rss[NR] = $1 }
    END {
        printf "| %s | %d | %.1f s | %.2f MiB | %.2f MiB | %.3f %% | %.0f | %.0f |\n", what, n, met - started,
            rss[int((NR + 1) / 2)] / 1024, rss[NR] / 1024, cpu / s / (n - 1), udp / s / n, tcp / s / n
    }' "$work/rss"
