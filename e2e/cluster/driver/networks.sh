# shellcheck shell=bash
# The networks of a cluster follow from its slot, so that several stand side by
# side on one host. Read on the host and inside the cluster alike.
# shellcheck disable=SC2034

slots=16

# networks SLOT: slot 0 has the familiar 10.96 for services and 10.244 for pods.
networks() {
  slot=$1
  node_net=10.99.$slot           # .1 is node0, .11 node1, ..., .254 the host's end of the door
  service_net=10.96.$((slot * 16))
  service_cidr=$service_net.0/20
  dns_ip=$service_net.10
  pod_net=10.$((244 - slot))     # node N has POD_NET.N.0/24
  door=mdoor$slot                # the host's end of the door
}

# node_mac N: fixed, for neighbours remember it: a bridge would otherwise take on
# another as its ports come and go, and a node that is replaced a random one.
node_mac() { printf '02:6d:72:64:%02x:%02x' "$slot" "$1"; }

# node_ip N: the address of node N.
node_ip() { if [ "$1" = 0 ]; then echo "$node_net.1"; else echo "$node_net.$((10 + $1))"; fi; }
