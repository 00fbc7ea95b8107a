#!/bin/bash
# control-plane.sh HOME: PID 1 of a cluster's namespaces, and node0. Everything
# else in them descends from it, so killing it ends the cluster: the kernel then
# drops every process, mount, interface and firewall rule of it.
#
# It runs from a copy in HOME/scripts: bash reads a script as it goes, so editing
# the original must not disturb a running cluster.
set -euo pipefail
home=$1 scripts=$(cd "$(dirname "$0")" && pwd)
log=$home/log pki=$home/pki
# shellcheck source=/dev/null
. "$home/settings"
. "$scripts/networks.sh"
networks "$slot"
. "$scripts/supervise.sh"
. "$scripts/namespace.sh"
. "$scripts/flags.sh"
k=$program/meridian-cluster
api=https://$node_net.1:6443
export KUBECONFIG=$pki/admin.kubeconfig

main() {
  prepare_namespace node0
  make_bridge
  reached network
  write_certificates
  reached certificates "certificates"
  start_control_plane
  reached control-plane "control plane usable"
  if [ "$tier" = full ]; then
    start_nodes
  fi
  reached ready
  hold
}

# make_bridge: the network that the nodes and the host's door are on. It carries
# node0's address: not every kernel has the "dummy" device.
make_bridge() {
  ip link add nodes address "$(node_mac 0)" type bridge
  ip addr add "$node_net.1/24" dev nodes
  ip link set nodes up
  # What crosses the bridge goes from node to node; node0 has no say in it.
  for knob in iptables ip6tables; do
    if [ -e "/proc/sys/net/bridge/bridge-nf-call-$knob" ]; then
      echo 0 > "/proc/sys/net/bridge/bridge-nf-call-$knob"
    fi
  done
  route_services nodes 0
}

write_certificates() {
  local n nodes_list=''
  for n in $(seq 0 $((nodes - 1))); do
    nodes_list+="${nodes_list:+,}node$n=$(node_ip "$n")"
  done
  "$k" certificates -dir "$pki" -cluster "$cluster" -api-ip "$node_net.1" \
    -service-ip "$service_net.1" -nodes "$nodes_list"
}

start_control_plane() {
  etcd_flags
  start etcd "$k" etcd "${flags[@]}"
  apiserver_flags
  start kube-apiserver "$k" kube-apiserver "${flags[@]}"
  wait_for 180 "API server" kube-apiserver api_get /readyz
  # Earlier it would end at once: its permissions are not there before /readyz.
  controller_manager_flags
  start kube-controller-manager "$k" kube-controller-manager "${flags[@]}"
  wait_for 120 "default service account" kube-controller-manager \
    api_get /api/v1/namespaces/default/serviceaccounts/default
}

# api_get PATH: without the half second of processor time that kubectl would take.
api_get() {
  curl -sf -m 5 -o /dev/null --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" "$api$1"
}

start_nodes() {
  local n
  scheduler_flags
  start kube-scheduler "$k" kube-scheduler "${flags[@]}"
  "$scripts/agents.sh" "$home" 0 >> "$log/node0.log" 2>&1 &
  for n in $(seq 1 $((nodes - 1))); do
    "$scripts/join.sh" "$home" "$n"
  done
  sed -e "s|PROGRAM_DIR|$program|; s|DNS_IP|$dns_ip|" "$scripts/addons.yaml" |
    "$k" kubectl apply -f - > "$log/addons.log" 2>&1 || fail "the addons were refused" addons
  start volumes "$k" volumes -kubeconfig "$pki/volumes.kubeconfig" -root "$home/volumes"
  for n in $(seq 0 $((nodes - 1))); do
    wait_for 300 "ready node$n" "node$n-kubelet" "$k" kubectl wait --for=condition=Ready "node/node$n" --timeout=1s
  done
  reached nodes "$nodes node(s) ready"
  wait_for 120 "cluster DNS" node0-kubelet \
    "$k" kubectl -n kube-system rollout status deployment/coredns --timeout=1s
  reached dns "DNS ready"
}

main
