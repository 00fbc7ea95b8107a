#!/bin/bash
# joined.sh HOME N: PID 1 of node N's namespaces, started by join.sh.
set -euo pipefail
home=$1 n=$2 scripts=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$home/settings"
. "$scripts/networks.sh"
networks "$slot"
. "$scripts/namespace.sh"
prepare_namespace "node$n"
until ip link show eth0 > /dev/null 2>&1; do sleep 0.05; done # join.sh makes it
ip addr add "$(node_ip "$n")/24" dev eth0
ip link set eth0 up
route_services eth0 "$n"
for m in $(seq 0 $((nodes - 1))); do
  [ "$m" = "$n" ] || ip route add "$pod_net.$m.0/24" via "$(node_ip "$m")"
done
exec "$scripts/agents.sh" "$home" "$n"
