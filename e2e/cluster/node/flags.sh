# shellcheck shell=bash
# The flags of the control plane. Each function fills the array "flags".
# Expects $home, $pki and the settings.
# shellcheck disable=SC2034

etcd_flags() {
  flags=(
    -data-dir "$home/etcd" -client-url https://127.0.0.1:2379 -peer-url http://127.0.0.1:2380
    -cert-file "$pki/etcd-server.crt" -key-file "$pki/etcd-server.key" -trusted-ca-file "$pki/etcd-ca.crt"
    -unsafe-no-fsync
  )
}

apiserver_flags() {
  flags=(
    --etcd-servers=https://127.0.0.1:2379
    --etcd-cafile="$pki/etcd-ca.crt" --etcd-certfile="$pki/etcd-client.crt" --etcd-keyfile="$pki/etcd-client.key"
    --bind-address="$node_net.1" --advertise-address="$node_net.1" --secure-port=6443
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt"
    --service-account-issuer=https://kubernetes.default.svc.cluster.local
    --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key"
    --service-cluster-ip-range="$service_cidr"
    "--authorization-mode=Node,RBAC" --enable-admission-plugins=NodeRestriction --allow-privileged=true
    --kubelet-client-certificate="$pki/apiserver-kubelet-client.crt"
    --kubelet-client-key="$pki/apiserver-kubelet-client.key"
    --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP
    --requestheader-client-ca-file="$pki/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client
    --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group
    --requestheader-username-headers=X-Remote-User
    --proxy-client-cert-file="$pki/front-proxy-client.crt" --proxy-client-key-file="$pki/front-proxy-client.key"
    # Pods leave a lost node after 10 seconds instead of five minutes.
    --default-not-ready-toleration-seconds=10 --default-unreachable-toleration-seconds=10
    --endpoint-reconciler-type=lease
  )
}

controller_manager_flags() {
  controller_flags controller-manager
  flags+=(
    --root-ca-file="$pki/ca.crt" --service-account-private-key-file="$pki/sa.key"
    --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key"
    --use-service-account-credentials=true --allocate-node-cidrs=false --service-cluster-ip-range="$service_cidr"
    --node-monitor-grace-period=12s --node-monitor-period=2s
  )
}

scheduler_flags() { controller_flags scheduler; }

# controller_flags USER: there is one of each, so no election; and at the default
# of 20 requests a second the first service account alone would take 5 seconds.
controller_flags() {
  local config=$pki/$1.kubeconfig
  flags=(
    --kubeconfig="$config" --authentication-kubeconfig="$config" --authorization-kubeconfig="$config"
    --leader-elect=false --kube-api-qps=500 --kube-api-burst=1000
    --bind-address=127.0.0.1 --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key"
  )
}
