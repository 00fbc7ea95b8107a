#!/bin/bash
# join.sh HOME N: node N (1 or more), in namespaces of its own within the cluster's,
# on a port of node0's bridge. Runs in the cluster's namespaces.
#
# Killing the process in HOME/nodeN/init.pid (it counts in the cluster's pid
# namespace) loses the node as a power cut would.
set -euo pipefail
home=$1 n=$2 scripts=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$home/settings"
. "$scripts/networks.sh"
networks "$slot"
dir=$home/node$n log=$home/log
mkdir -p "$dir"
rm -f "$dir/init.pid"

unshare --mount --net --uts --ipc --pid --fork --mount-proc --propagation slave \
  "$scripts/joined.sh" "$home" "$n" >> "$log/node$n.log" 2>&1 &
parent=$!
for _ in $(seq 200); do
  child=$(tr -d ' ' < "/proc/$parent/task/$parent/children" 2> /dev/null) && [ -n "$child" ] && break
  sleep 0.05
done
[ -n "$child" ] || { echo "node$n did not start; see $log/node$n.log" >&2; exit 1; }
echo "$child" > "$dir/init.pid"
# The device of a node that was just lost may not be gone yet.
ip link delete "to-node$n" 2> /dev/null || true
ip link add "to-node$n" type veth peer name eth0 address "$(node_mac "$n")" netns "$child"
ip link set "to-node$n" master nodes up
ip route replace "$pod_net.$n.0/24" via "$(node_ip "$n")"
