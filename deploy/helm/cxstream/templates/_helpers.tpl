{{- define "cxstream.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "cxstream.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "cxstream.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "cxstream.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "cxstream.selector" -}}
app.kubernetes.io/name: {{ include "cxstream.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: worker
{{- end -}}

{{- define "cxstream.labels" -}}
{{ include "cxstream.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "cxstream.sinkSelector" -}}
app.kubernetes.io/name: {{ include "cxstream.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: sink
{{- end -}}

{{- define "cxstream.sinkLabels" -}}
{{ include "cxstream.sinkSelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "cxstream.image" -}}
{{- $repository := required "image.repository: name the one that you have pushed the image to" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* The namespace and labels of what Strimzi's operators look after. */}}
{{- define "cxstream.strimzi" -}}
namespace: {{ default .Release.Namespace .Values.strimzi.namespace }}
labels:
  strimzi.io/cluster: {{ .Values.strimzi.cluster }}
  {{- include "cxstream.labels" . | nindent 2 }}
{{- end -}}

{{/* "yes" where a client proves itself with a password. */}}
{{- define "cxstream.password" -}}
{{- if and (include "cxstream.sasl" .) (ne .Values.kafka.security.saslMechanism "OAUTHBEARER") }}yes{{ end -}}
{{- end -}}

{{/* "yes" where Kubernetes gives the pod the token that a client proves itself with. */}}
{{- define "cxstream.token" -}}
{{- $oauth := and (include "cxstream.sasl" .) (eq .Values.kafka.security.saslMechanism "OAUTHBEARER") -}}
{{- if and $oauth .Values.kafka.security.token.audience }}yes{{ end -}}
{{- end -}}

{{/* "yes" where a client proves itself by SASL. */}}
{{- define "cxstream.sasl" -}}
{{- if hasPrefix "SASL_" .Values.kafka.security.protocol }}yes{{ end -}}
{{- end -}}

{{/* "yes" where connections to Kafka are encrypted. */}}
{{- define "cxstream.tls" -}}
{{- if hasSuffix "SSL" .Values.kafka.security.protocol }}yes{{ end -}}
{{- end -}}

{{/* The consumer group; the default has the prefix of the topics before it. */}}
{{- define "cxstream.group" -}}
{{- $group := .Values.worker.group -}}
{{ if eq $group "cxstream" }}{{ .Values.kafka.topicPrefix }}{{ end }}{{ $group }}
{{- end -}}

{{/* One rule of an ACL: topic, operations. */}}
{{- define "cxstream.acl" -}}
- type: allow
  resource: {type: topic, name: {{ index . 0 }}, patternType: literal}
  operations: [{{ join ", " (slice . 1) }}]
  host: "*"
{{- end -}}

{{/* The names of the Service, as a JSON list. */}}
{{- define "cxstream.hosts" -}}
{{- $name := include "cxstream.fullname" . }}
{{- $short := printf "%s.%s" $name .Release.Namespace }}
{{- list $name $short (printf "%s.svc" $short) (printf "%s.svc.cluster.local" $short) | toJson }}
{{- end }}
