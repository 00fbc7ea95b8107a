# shellcheck shell=bash
# The host's way in: a veth pair whose far end is a port of the nodes' bridge. The
# host's own kubectl and browser reach the API server, services, pods and node
# ports through it. Its routes vanish with it, and it with the cluster.

# open_door: idempotent. The bridge must exist. Pods are routed to their own node,
# so that packets come back the way they went.
open_door() {
  local pid n
  pid=$(init_pid "$home")
  if ! ip link show "$door" > /dev/null 2>&1; then
    ip link add "$door" type veth peer name door netns "$pid"
  fi
  nsenter -t "$pid" -n ip link set door master nodes up
  ip addr replace "$node_net.254/24" dev "$door"
  ip link set "$door" up
  ip route replace "$service_cidr" via "$node_net.1" dev "$door"
  for n in $(seq 0 $((nodes - 1))); do
    ip route replace "$pod_net.$n.0/24" via "$(node_ip "$n")" dev "$door"
  done
}

# close_door: the kernel would remove it too, but only some time after the last
# process is gone.
close_door() {
  ip link show "$door" > /dev/null 2>&1 || return 0
  ip link delete "$door" 2> /dev/null || ! ip link show "$door" > /dev/null 2>&1
}

# free_slot: prints the first slot whose networks nobody uses: no other cluster, and
# no route of the host, such as a VPN's. The default cluster alone may take slot 0,
# so that its addresses are the same every time.
free_slot() {
  local candidate other first=1 taken=' '
  [ "$cluster" != meridian ] || first=0
  for other in "$clusters"/*/settings; do
    [ -e "$other" ] && alive "${other%/settings}" && taken+="$(sed -n 's/^slot=//p' "$other") "
  done
  for candidate in $(seq $first $((slots - 1))); do
    [[ $taken = *" $candidate "* ]] && continue
    networks "$candidate"
    unrouted "$node_net.0/24" && unrouted "$service_cidr" && unrouted "$pod_net.0.0/16" && echo "$candidate" && return
  done
  fail "no free networks for cluster $cluster: $slots clusters are up, or the host routes 10.99, 10.96 or 10.229-244 elsewhere (see: ip route)"
}

# unrouted NETWORK: does the host route neither it, nor a part of it, nor all of it
# (the default route apart)?
unrouted() {
  [ -z "$(ip -4 route show root "$1"; ip -4 route show match "$1" | grep -v '^default')" ]
}
