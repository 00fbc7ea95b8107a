# shellcheck shell=bash
# What the API server itself decides.

check_api() {
  claim a custom resource is established -- crd_established
  claim a rule of a custom resource refuses -- cel_refuses
  claim a rule of a custom resource admits -- k apply -f "$(manifest widget)"
  claim a rule compares with the old object -- cel_immutable
  claim a custom resource is scaled -- k -n lab scale widget/odd --replicas=2
  claim an admission policy refuses -- admission_refuses
  claim pod security refuses -- pod_security_refuses
  claim pod security admits a careful pod -- k -n vault wait --for=condition=Ready pod/careful --timeout=60s
  claim a kubelet sees no secrets of others -- node_authorizer
}

crd_established() {
  k apply -f "$(manifest crd)"
  k wait --for=condition=Established crd/widgets.check.example --timeout=30s
  eventually 20 k -n lab get widgets
}

cel_refuses() {
  sed 's/replicas: 1/replicas: 3/' "$(manifest widget)" |
    refuted k apply -f - 2>&1 | grep 'replicas must not exceed max'
}

cel_immutable() { refuted k -n lab patch widget odd --type merge -p '{"spec":{"name":"second"}}' 2>&1 | grep 'name is immutable'; }

admission_refuses() {
  k apply -f "$(manifest admission)"
  eventually 20 admission_refuses_now
}

admission_refuses_now() {
  refuted shop create deployment big --image=meridian.local/tools:1 --replicas=9 --dry-run=server 2>&1 | grep 'at most 5 replicas'
}

pod_security_refuses() {
  k apply -f "$(manifest restricted)"
  refuted k -n vault run careless --image=meridian.local/tools:1 --command -- sleep infinity 2>&1 | grep 'violates PodSecurity'
}

node_authorizer() { refuted k --kubeconfig "$home/pki/kubelet-node0.kubeconfig" get secrets -A 2>&1 | grep Forbidden; }
