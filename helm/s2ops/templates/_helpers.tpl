{{- define "s2ops.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/name: s2ops
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: s2ops
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Selector of Triton's pods, without a version: a selector is immutable. */}}
{{- define "s2ops.tritonSelector" -}}
app.kubernetes.io/name: s2ops
app.kubernetes.io/component: triton
{{- end }}

{{/* Selector of all workflow pods, by the label that Argo sets. */}}
{{- define "s2ops.stepSelector" -}}
matchExpressions:
  - {key: workflows.argoproj.io/workflow, operator: Exists}
{{- end }}

{{/* (dict "image" .Values.images.steps "root" $) -> repository:tag, or repository@digest */}}
{{- define "s2ops.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "s2ops.segmenter" -}}
{{- if .Values.segmenter -}}
{{ .Values.segmenter }}
{{- else if .Values.triton.enabled -}}
triton://s2ops-triton:8001
{{- else -}}
{{ fail "triton.enabled is false and segmenter is empty: set segmenter to onnx or triton://HOST:PORT" }}
{{- end -}}
{{- end }}

{{/* Pod settings of the restricted pod security standard. User 10001 overrides the user of the images (8737). */}}
{{- define "s2ops.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Container settings of the restricted pod security standard. */}}
{{- define "s2ops.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* PromQL: mean queue time of a request in milliseconds, over all replicas in this namespace. */}}
{{- define "s2ops.queueQuery" -}}
sum(rate(nv_inference_queue_duration_us{namespace="{{ .Release.Namespace }}"}[2m])) / clamp_min(sum(rate(nv_inference_request_success{namespace="{{ .Release.Namespace }}"}[2m])), 0.001) / 1000
{{- end }}

{{/* Arguments of the Triton image: one server with all networks; models are never loaded or unloaded by hand. */}}
{{- define "s2ops.tritonArgs" -}}
args:
  - serve
  - --address=0.0.0.0
  - --device={{ .Values.triton.device }}
  - --wait={{ .Values.triton.startupSeconds }}
  - --exit-timeout={{ .Values.triton.exitTimeoutSeconds }}
{{- if .Values.models.uri }}
env:
  - {name: S2OPS_MODELS, value: {{ .Values.models.uri | quote }}}
envFrom:
  - configMapRef: {name: s2ops-env}
  - secretRef: {name: s2ops-object-store, optional: true}
{{- end }}
{{- end }}
