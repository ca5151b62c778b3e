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

{{/* Selector and labels of a part beside the workers: root, component. */}}
{{- define "cxstream.partSelector" -}}
app.kubernetes.io/name: {{ include "cxstream.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "cxstream.partLabels" -}}
{{ include "cxstream.partSelector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
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

{{/*
How a part beside the workers reaches Kafka: root; kafka: its user, what is empty is the worker's; prefix of its volumes, so
that two containers of a pod have each its own.
*/}}
{{- define "cxstream.partEnv" -}}
{{- $security := .root.Values.kafka.security -}}
{{- $certificate := ternary .kafka.certificate $security.certificate (ne .kafka.certificate.secret "") -}}
- {name: CXSTREAM_KAFKA, value: {{ .root.Values.kafka.bootstrap | quote }}}
- {name: CXSTREAM_LOG_FORMAT, value: json}
{{- with .root.Values.kafka.topicPrefix }}
- {name: CXSTREAM_TOPICS__PREFIX, value: {{ . | quote }}}
{{- end }}
- {name: CXSTREAM_SECURITY__PROTOCOL, value: {{ $security.protocol }}}
{{- if include "cxstream.sasl" .root }}
- {name: CXSTREAM_SECURITY__SASL_MECHANISM, value: {{ $security.saslMechanism }}}
{{- end }}
{{- if include "cxstream.password" .root }}
- {name: CXSTREAM_SECURITY__USERNAME, value: {{ default $security.username .kafka.username | quote }}}
- {name: CXSTREAM_SECURITY__PASSWORD_FILE, value: /etc/cxstream/password/password}
{{- end }}
{{- if include "cxstream.token" .root }}
- {name: CXSTREAM_SECURITY__TOKEN_FILE, value: /etc/cxstream/token/token}
{{- end }}
{{- if and (include "cxstream.tls" .root) $security.ca.secret }}
- {name: CXSTREAM_SECURITY__CA_FILE, value: /etc/cxstream/ca/ca.pem}
{{- end }}
{{- if and (include "cxstream.tls" .root) $certificate.secret }}
- {name: CXSTREAM_SECURITY__CERT_FILE, value: /etc/cxstream/certificate/certificate.pem}
- {name: CXSTREAM_SECURITY__KEY_FILE, value: /etc/cxstream/certificate/key.pem}
{{- end }}
{{- end -}}

{{/* Where the container has them: root, kafka, prefix. */}}
{{- define "cxstream.partMounts" -}}
{{- $security := .root.Values.kafka.security -}}
{{- $certificate := ternary .kafka.certificate $security.certificate (ne .kafka.certificate.secret "") -}}
{{- if include "cxstream.password" .root }}
- {name: {{ .prefix }}password, mountPath: /etc/cxstream/password, readOnly: true}
{{- end }}
{{- if include "cxstream.token" .root }}
- {name: {{ .prefix }}token, mountPath: /etc/cxstream/token, readOnly: true}
{{- end }}
{{- if and (include "cxstream.tls" .root) $security.ca.secret }}
- {name: {{ .prefix }}ca, mountPath: /etc/cxstream/ca, readOnly: true}
{{- end }}
{{- if and (include "cxstream.tls" .root) $certificate.secret }}
- {name: {{ .prefix }}certificate, mountPath: /etc/cxstream/certificate, readOnly: true}
{{- end }}
{{- end -}}

{{/* The volumes: root, kafka, prefix. */}}
{{- define "cxstream.partVolumes" -}}
{{- $security := .root.Values.kafka.security -}}
{{- $password := ternary .kafka.password $security.password (ne .kafka.password.secret "") -}}
{{- $certificate := ternary .kafka.certificate $security.certificate (ne .kafka.certificate.secret "") -}}
{{- if include "cxstream.password" .root }}
- name: {{ .prefix }}password
  secret:
    secretName: {{ $password.secret }}
    defaultMode: 0440
    items:
      - {key: {{ $password.key | quote }}, path: password}
{{- end }}
{{- if include "cxstream.token" .root }}
- name: {{ .prefix }}token
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken:
          audience: {{ $security.token.audience | quote }}
          expirationSeconds: {{ $security.token.expirationSeconds }}
          path: token
{{- end }}
{{- if and (include "cxstream.tls" .root) $security.ca.secret }}
- name: {{ .prefix }}ca
  secret:
    secretName: {{ $security.ca.secret }}
    defaultMode: 0440
    items:
      - {key: {{ $security.ca.key | quote }}, path: ca.pem}
{{- end }}
{{- if and (include "cxstream.tls" .root) $certificate.secret }}
- name: {{ .prefix }}certificate
  secret:
    secretName: {{ $certificate.secret }}
    defaultMode: 0440
    items:
      - {key: {{ $certificate.certificateKey | quote }}, path: certificate.pem}
      - {key: {{ $certificate.privateKeyKey | quote }}, path: key.pem}
{{- end }}
{{- end -}}

{{/* What a part beside the workers may connect to in any case: name servers and Kafka. */}}
{{- define "cxstream.partEgress" -}}
- ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .Values.networkPolicy.dnsTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
- ports:
    {{- range .Values.networkPolicy.kafkaPorts }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .Values.networkPolicy.kafkaTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Target of a ServiceMonitor: root, component, port, job. */}}
{{- define "cxstream.partMonitor" -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ include "cxstream.fullname" .root }}-{{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "cxstream.partLabels" . | nindent 4 }}
    {{- with .root.Values.monitoring.serviceMonitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "cxstream.partSelector" . | nindent 6 }}
  namespaceSelector:
    matchNames: [{{ .root.Release.Namespace }}]
  endpoints:
    - port: {{ .port }}
      path: /metrics
      interval: {{ .root.Values.monitoring.serviceMonitor.interval }}
      relabelings:
        - {action: replace, targetLabel: job, replacement: cxstream-{{ .name }}}
{{- end -}}

{{/* Of all containers beside the worker. */}}
{{- define "cxstream.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
