{{/* Name of every object of this chart: the release's name, with the chart's name in it. */}}
{{- define "meridian.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of a cluster-scoped object: two releases of one name in two namespaces must not share one. */}}
{{- define "meridian.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "meridian.name" .) -}}
{{- end -}}

{{- define "meridian.selector" -}}
app.kubernetes.io/name: meridian-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "meridian.labels" -}}
{{ include "meridian.selector" . }}
app.kubernetes.io/part-of: meridian
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "meridian.image" -}}
{{- .Values.images.meridian | default (printf "ghcr.io/meridian-billing/meridian:%s" .Chart.AppVersion) -}}
{{- end -}}
