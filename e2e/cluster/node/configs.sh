# shellcheck shell=bash
# The configuration files of a node's agents, printed. Expects what agents.sh sets.

# Without CAP_SYS_RESOURCE nobody may lower an oom score, and every sandbox would
# fail with a misleading error about a pipe: hence restrict_oom_score_adj.
containerd_config() {
  cat << E
version = 2
root = "$dir/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "meridian.local/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$dir/cni.bin"
    conf_dir = "$dir/cni.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
E
}

# policy-cni comes last: it waits until the pod's rules are loaded.
cni_config() {
  cat << E
{"cniVersion": "0.4.0", "name": "meridian", "plugins": [
  {"type": "ptp", "mtu": 1500, "ipMasq": false,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pod_net.$n.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}},
  {"type": "policy-cni", "socket": "/run/policy-agent.sock"}]}
E
}

# Images come from archives, never from a registry: one that was removed to save
# space could not be had again.
kubelet_config() {
  cat << E
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: "$pki/ca.crt"}
authorization: {mode: Webhook}
tlsCertFile: "$pki/kubelet-server-$node.crt"
tlsPrivateKeyFile: "$pki/kubelet-server-$node.key"
clusterDNS: ["$dns_ip"]
clusterDomain: cluster.local
resolvConf: "$dir/resolv.conf"
containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock"
cgroupDriver: cgroupfs
cgroupRoot: "/$cgroup/$node"
failSwapOn: false
failCgroupV1: false
imageGCHighThresholdPercent: 100
imageMinimumGCAge: 87600h
evictionHard: {"memory.available": "200Mi", "nodefs.available": "1%", "imagefs.available": "1%"}
evictionPressureTransitionPeriod: 10s
nodeStatusUpdateFrequency: 5s
nodeLeaseDurationSeconds: 12
syncFrequency: 10s
maxPods: 110
serializeImagePulls: false
E
}

proxy_config() {
  cat << E
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: $pod_net.0.0/16
hostnameOverride: $node
bindAddress: $ip
clientConnection: {kubeconfig: "$pki/proxy.kubeconfig"}
conntrack: {maxPerCore: 0, min: 0}
nftables: {syncPeriod: 30s, minSyncPeriod: 100ms}
E
}
