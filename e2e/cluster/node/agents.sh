#!/bin/bash
# agents.sh HOME N: the agents of node N: containerd, kubelet, kube-proxy and the
# policy agent. The namespaces are the caller's and are prepared.
set -euo pipefail
home=$1 n=$2 scripts=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
. "$home/settings"
. "$scripts/networks.sh"
networks "$slot"
. "$scripts/supervise.sh"
. "$scripts/cgroups.sh"
. "$scripts/configs.sh"
node=node$n dir=$home/node$n log=$home/log pki=$home/pki k=$program/meridian-cluster
ip=$(node_ip "$n")

make_cgroup "$cgroup/$node"
mkdir -p "$dir/cni.d" "$dir/cni.bin"
ln -sf /usr/lib/cni/* "$program/policy-cni" "$dir/cni.bin/"
: > "$dir/resolv.conf"
containerd_config > "$dir/containerd.toml"
cni_config > "$dir/cni.d/10-meridian.conflist"
kubelet_config > "$dir/kubelet.yaml"
proxy_config > "$dir/proxy.yaml"

start "$node-containerd" containerd -c "$dir/containerd.toml"
start "$node-kube-proxy" "$k" kube-proxy --config="$dir/proxy.yaml"
start "$node-policy-agent" "$k" policy-agent -kubeconfig "$pki/policy-agent.kubeconfig" \
  -socket /run/policy-agent.sock -node-cidr "$pod_net.$n.0/24"
wait_for 60 containerd "$node-containerd" ctr version
for image in "$program"/images/*.tar; do
  ctr -n k8s.io images import "$image" >> "$log/$node-images.log" 2>&1 || fail "$image was not imported" "$node-images"
done
start "$node-kubelet" "$k" kubelet --config="$dir/kubelet.yaml" --kubeconfig="$pki/kubelet-$node.kubeconfig" \
  --hostname-override="$node" --node-ip="$ip"
wait
