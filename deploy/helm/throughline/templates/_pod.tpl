{{/* Names and the parts of a pod that all processes share. */}}

{{- define "throughline.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "throughline.selector" -}}
app.kubernetes.io/name: throughline
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "throughline.labels" -}}
{{ include "throughline.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "throughline.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Port of a process's metrics: deploy/operations/metrics.py gives each the next one. */}}
{{- define "throughline.metricsPort" -}}
{{- $ports := dict "identify" 9464 "profile" 9465 "record" 9466 "deliver" 9467 "collector" 9468 "export" 9469 -}}
{{ get $ports . }}
{{- end }}

{{/* Environment: settings, then secrets by file. Takes root, settings (of this process alone), keys. */}}
{{- define "throughline.environment" -}}
{{- $settings := .root.Values.settings -}}
{{- range $name := list "kafka_bootstrap" "redis_url" "clickhouse_url" }}
{{- $_ := required (printf "settings.%s is required" $name) (get $settings $name) }}
{{- end }}
{{- range $name, $value := merge (dict "metrics_address" "0.0.0.0:9464") (.settings | default dict) $settings }}
- name: THROUGHLINE_{{ upper $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- range $key := concat .root.Values.secret.keys (.keys | default list) }}
- name: THROUGHLINE_{{ upper $key }}_FILE
  value: /run/secrets/throughline/{{ $key }}
{{- end }}
{{- end }}

{{- define "throughline.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{/* The start of a container, with mounts. Takes root, name, command, settings, keys, resources. */}}
{{- define "throughline.container" -}}
name: {{ .name }}
image: {{ include "throughline.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args: {{ toJson .command }}
env:
  {{- include "throughline.environment" . | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
volumeMounts:
  - { name: tmp, mountPath: /tmp }
  - { name: secret, mountPath: /run/secrets/throughline, readOnly: true }
resources:
  {{- toYaml .resources | nindent 2 }}
{{- end }}

{{/* What a pod has beside its containers. */}}
{{- define "throughline.pod" -}}
automountServiceAccountToken: false
{{- with .root.Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
terminationGracePeriodSeconds: {{ .root.Values.terminationGracePeriodSeconds }}
securityContext:
  {{- include "throughline.podSecurity" . | nindent 2 }}
volumes:
  - { name: tmp, emptyDir: { sizeLimit: 256Mi } }
  - name: secret
    secret: { secretName: {{ .root.Values.secret.name }}, defaultMode: 0440 }
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "throughline.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "throughline.selector" . | nindent 8 }}
{{- end }}

{{- define "throughline.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "throughline.name" .root }}-{{ .component }}
  labels:
    {{- include "throughline.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "throughline.selector" . | nindent 6 }}
{{- end }}
