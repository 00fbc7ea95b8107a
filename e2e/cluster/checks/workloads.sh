# shellcheck shell=bash
# Pods, services, DNS, volumes, jobs.

check_workloads() {
  claim every node is ready -- k wait --for=condition=Ready node --all --timeout=30s
  claim manifests are applied -- k apply -f "$(manifest services)" -f "$(manifest ledger)" -f "$(manifest batch)"
  claim a deployment becomes available -- shop rollout status deployment/web --timeout=90s
  claim a stateful set with volumes becomes ready -- shop rollout status statefulset/ledger --timeout=90s
  claim the clients become ready -- clients_ready
  claim a service answers by name -- answers 200 lab http://web.shop/
  claim a pod of a stateful set answers by its own name -- answers 200 lab http://ledger-1.ledger.shop:8080/
  claim a pod reaches the API server -- answers 200 lab https://kubernetes.default.svc/version
  claim a pod reaches itself through its service -- hairpin
  claim a pod cannot leave the cluster -- answers 000 lab http://192.0.2.1/
  claim a job completes -- shop wait --for=condition=Complete job/tally --timeout=60s
  claim logs are read -- logs_are_read
  claim a volume outlives its pod -- volume_outlives_pod
  claim a volume belongs to the pod\'s group -- volume_group
  claim a pod over its memory limit is killed -- oom_killed
  claim a rolling update completes -- rolling_update
  claim released volumes are removed -- volumes_removed
}

clients_ready() {
  k -n lab wait --for=condition=Ready pod/client --timeout=60s
  shop wait --for=condition=Ready pod/client --timeout=60s
}

hairpin() { shop exec deployment/web -- sh -c 'for i in 1 2 3 4 5 6; do curl -sf -m 2 http://web/ || exit 1; done'; }

logs_are_read() { shop logs job/tally | grep done-tally; }

volume_outlives_pod() {
  shop delete pod ledger-0 --wait
  shop rollout status statefulset/ledger --timeout=60s
  # each start of the pod appends a line
  [ "$(shop exec ledger-0 -- cat /data/index.html | wc -l)" -ge 2 ]
}

volume_group() { shop exec ledger-0 -- stat -c %g /data | grep -x 999; }

oom_killed() {
  shop wait --for=jsonpath='{.status.phase}'=Failed pod/greedy --timeout=60s
  [ "$(shop get pod greedy -o jsonpath='{.status.containerStatuses[0].state.terminated.reason}')" = OOMKilled ]
}

rolling_update() {
  shop set env deployment/web X=changed
  shop rollout status deployment/web --timeout=90s
}

volumes_removed() {
  [ "$(find "$home/volumes" -mindepth 1 -maxdepth 1 | wc -l)" = 2 ]
  shop delete statefulset ledger --wait
  shop delete pvc --all --wait
  eventually 20 no_volumes
}

no_volumes() { [ -z "$(ls "$home/volumes")" ]; }
