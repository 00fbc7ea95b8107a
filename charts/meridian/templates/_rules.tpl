{{/*
What the operator may do in a namespace that holds a region. Bound by a ClusterRoleBinding in cluster mode, by a
RoleBinding in `watchNamespace` alone otherwise. Each rule says what it is for; there is no wildcard.
*/}}
{{- define "meridian.rules" -}}
# Our own kinds: what they want.
- apiGroups: [billing.meridian.dev]
  resources: [billingregions, meters, plans, tenants]
  verbs: [get, list, watch]
# Their finalizers are metadata, and metadata is written with the object itself.
- apiGroups: [billing.meridian.dev]
  resources: [billingregions, meters, plans, tenants]
  verbs: [patch, update]
# The status that people and GitOps tools read.
- apiGroups: [billing.meridian.dev]
  resources: [billingregions/status, meters/status, plans/status, tenants/status]
  verbs: [get, patch, update]
# Owner references with blockOwnerDeletion, where the API server enforces that permission.
- apiGroups: [billing.meridian.dev]
  resources: [billingregions/finalizers, meters/finalizers, plans/finalizers, tenants/finalizers]
  verbs: [update]
# Managed stores and our services.
- apiGroups: [apps]
  resources: [statefulsets, deployments]
  verbs: [get, list, watch, create, patch, update, delete]
# The migration of the schemas. Jobs cannot be changed: a new version is a new Job.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, update, delete]
# Addresses, configuration files, credentials and API keys, and an identity for each program.
- apiGroups: [""]
  resources: [services, configmaps, secrets, serviceaccounts]
  verbs: [get, list, watch, create, patch, update, delete]
# Default deny, and what the traffic table allows.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, update, delete]
# Drains must not take the last replica.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, update, delete]
# Volumes are made by StatefulSets. The operator reads them, labels them for adoption and grows them, and deletes them
# only for a region with `deletionPolicy: Delete`.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, patch, delete]
# Why a pod does not become ready: image, scheduling, quota or crash.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# What happened, for `kubectl describe`.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
