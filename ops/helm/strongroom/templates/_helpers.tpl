{{/* The name of everything: that of the release, and the chart's if the release does not name it. Kubernetes allows 52
characters for a CronJob, and a role is added. */}}
{{- define "strongroom.name" -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* What all pods of a release have in common. */}}
{{- define "strongroom.selector" -}}
app.kubernetes.io/name: strongroom
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "strongroom.labels" -}}
{{ include "strongroom.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{/*
Every process of this release, by its role, with what its role has beside its values:
  key      the role whose key it signs with, from a Secret; the processes that only look have none
  keys     the files of the installation's keys that its Secret must have, beside its own
  reaches  the rules of networkPolicy.to that are for it
  port     what it serves
*/}}
{{- define "strongroom.processes" -}}
{{- $reaches := dict
  "control"  (list "broker" "source" "targets" "people")
  "seal"     (list "broker" "source" "targets" "keys")
  "transfer" (list "broker" "targets")
  "verify"   (list "broker" "source" "targets" "keys")
  "drill"    (list "broker" "targets" "keys")
  "prune"    (list "broker" "targets")
  "recover"  (list "broker" "source" "targets" "keys")
  "beat"     (list "broker")
  "page"     (ternary (list "broker" "targets") (list "targets") .Values.page.act)
  "metrics"  (list "targets")
  "shell"    (list "broker" "targets")
  "outside"  (list "targets" "people") }}
{{- $values := merge (dict "beat" .Values.beat "page" .Values.page "metrics" .Values.metrics "shell" .Values.shell "outside" .Values.outside) .Values.pools }}
{{- $keyless := ternary (list "metrics" "outside") (list "page" "metrics" "outside") .Values.page.act }}
{{- $processes := dict }}
{{- range $role, $process := $values }}
{{- if ne $process.enabled false }}
{{- $port := get (dict "page" 5556 "metrics" 9464) $role }}
{{- $key := ternary "" (get (dict "shell" "submit") $role | default $role) (has $role $keyless) }}
{{- $keys := ternary list (list "work.key" "digest.key") (eq $role "page") }}
{{- $_ := set $processes $role (merge (dict "reaches" (get $reaches $role) "port" $port "key" $key "keys" $keys "pool" (hasKey $.Values.pools $role)) $process) }}
{{- end }}
{{- end }}
{{- $processes | toYaml }}
{{- end }}

{{- define "strongroom.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* Whether others than their own pod may reach the page and the metrics. */}}
{{- define "strongroom.listens" -}}
{{- if or .Values.listen.tlsSecret .Values.listen.plain }}true{{ end }}
{{- end }}

{{- define "strongroom.scheme" -}}
{{ if .Values.listen.tlsSecret }}HTTPS{{ else }}HTTP{{ end }}
{{- end }}

{{/* The Secrets that a process finds as files, beside that of its role. */}}
{{- define "strongroom.secrets" -}}
{{- $listening := ternary (list .root.Values.listen.tlsSecret) list (not (empty .process.port)) }}
{{- concat .root.Values.secrets (.process.secrets | default list) $listening | compact | uniq | toYaml }}
{{- end }}

{{/* The Secret of a role: what it alone may have. */}}
{{- define "strongroom.own" -}}
{{ .process.secret | default (printf "%s-%s" (include "strongroom.name" .root) (.process.key | default .role)) }}
{{- end }}

{{/* Settings that take the place of the configuration's, as environment variables. */}}
{{- define "strongroom.environment" -}}
{{- $settings := dict }}
{{- if .process.pool }}
{{- $_ := set $settings (printf "WORKERS__%s" (upper .role)) (.process.concurrency | default 2) }}
{{- end }}
{{- if and .process.port (include "strongroom.listens" .root) }}
{{- $_ := set $settings "LISTEN__HOST" "0.0.0.0" }}
{{- if .root.Values.listen.tlsSecret }}
{{- $_ := set $settings "LISTEN__CERTIFICATE_FILE" (printf "/run/secrets/%s/tls.crt" .root.Values.listen.tlsSecret) }}
{{- $_ := set $settings "LISTEN__KEY_FILE" (printf "/run/secrets/%s/tls.key" .root.Values.listen.tlsSecret) }}
{{- else }}
{{- $_ := set $settings "LISTEN__PLAIN" true }}
{{- end }}
{{- end }}
{{- $settings = merge (deepCopy (.process.settings | default dict)) .root.Values.settings $settings }}
{{- if eq .role "page" }}
{{- /* Last: without its key it would make one that nobody believes. */}}
{{- $_ := set $settings "PAGE__ACT" .process.act }}
{{- end }}
- {name: STRONGROOM_CONFIG, value: /etc/strongroom/strongroom.toml}
- {name: STRONGROOM_STATE_DIR, value: /var/lib/strongroom}
{{- range $name, $value := $settings }}
- {name: STRONGROOM_{{ $name }}, value: {{ $value | toString | replace "ROLE" ($.process.key | default $.role) | quote }}}
{{- end }}
{{- end }}

{{/* Pod security "restricted", and nothing writable but what is mounted to be. */}}
{{- define "strongroom.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What asks whether a process is well: over HTTP where it serves others, else inside of its pod. */}}
{{- define "strongroom.question" -}}
{{- if and .process.port (include "strongroom.listens" .root) -}}
httpGet: {path: /healthcheck, port: http, scheme: {{ include "strongroom.scheme" .root }}}
{{- else -}}
exec: {command: [python, -P, -m, workers, --healthy, {{ .role }}]}
{{- end }}
timeoutSeconds: 10
{{- end }}

{{/*
The pod of a process: dict of root, role, process. Those that are no role of Strongroom's have a command, and one
that ends (a job) is neither spread nor asked how it is.
*/}}
{{- define "strongroom.pod" -}}
{{- $name := include "strongroom.name" .root }}
{{- $secrets := include "strongroom.secrets" . | fromYamlArray }}
{{- $values := .root.Values }}
metadata:
  labels:
    {{- include "strongroom.selector" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .role }}
    {{- with $values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    # A pod that reads another configuration is another pod.
    checksum/config: {{ list $values.config $values.files | toJson | sha256sum }}
    {{- with $values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ $name }}-{{ .role }}
  automountServiceAccountToken: false
  # The variables that it would add begin with STRONGROOM_, as settings do.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .process.stopSeconds | default (ternary 60 30 .process.pool) }}
  {{- if .job }}
  restartPolicy: Never
  {{- end }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - {name: {{ . }}}
    {{- end }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not .job }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "strongroom.selector" $.root | nindent 10 }}
          app.kubernetes.io/component: {{ $.role }}
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    {{- with $values.user }}
    runAsUser: {{ int . }}
    runAsGroup: {{ int . }}
    {{- if $.process.volume }}
    fsGroup: {{ int . }} # a volume belongs to root otherwise
    {{- end }}
    {{- end }}
    seccompProfile: {type: RuntimeDefault}
  initContainers:
    # The files of a Secret's volume belong to root, and Strongroom reads a secret only from a file that its own
    # user alone may read. These copies are in memory.
    - name: secrets
      image: {{ include "strongroom.image" .root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      command:
        - sh
        - -ceu
        - |
          umask 077
          for folder in /secret/*; do
            mkdir -p "/run/secrets/${folder##*/}"
            for file in "$folder"/*; do
              [ -e "$file" ] || continue
              to=/run/secrets/${folder##*/}
              {{- if .process.key }}
              case $file in
                {{- with .process.keys }}
                {{ range $index, $file := . }}{{ if $index }} | {{ end }}/secret/role/{{ $file }}{{ end }}) to=/var/lib/strongroom/keys ;;
                {{- end }}
                /secret/role/{{ .process.key }}.key | /secret/role/trusted.json | /secret/role/host) to=/var/lib/strongroom/keys/roles ;;
              esac
              {{- end }}
              mkdir -p "$to"
              cp -L "$file" "$to/"
            done
          done
          {{- if .process.key }}
          cd /var/lib/strongroom/keys/
          for file in {{ range .process.keys }}{{ . }} {{ end }}roles/{{ .process.key }}.key roles/trusted.json; do
            [ -e "$file" ] || { echo "The Secret {{ include "strongroom.own" . }} has no ${file##*/}." >&2; exit 1; }
          done
          {{- end }}
      securityContext: {{- include "strongroom.confined" . | nindent 8 }}
      resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
      volumeMounts:
        - {name: role, mountPath: /secret/role, readOnly: true}
        {{- range $index, $secret := $secrets }}
        - {name: secret-{{ $index }}, mountPath: /secret/{{ $secret }}, readOnly: true}
        {{- end }}
        - {name: secrets, mountPath: /run/secrets}
        {{- if .process.key }}
        - {name: keys, mountPath: /var/lib/strongroom/keys}
        {{- end }}
  containers:
    - name: {{ .role }}
      image: {{ include "strongroom.image" .root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      {{- if .command }}
      command: {{ .command | toJson }}
      {{- else }}
      args: [{{ .role }}]
      {{- end }}
      env: {{- include "strongroom.environment" . | nindent 8 }}
      securityContext: {{- include "strongroom.confined" . | nindent 8 }}
      resources: {{- .process.resources | toYaml | nindent 8 }}
      {{- if .process.port }}
      ports:
        - {name: http, containerPort: {{ int .process.port }}, protocol: TCP}
      {{- end }}
      {{- if not .command }}
      startupProbe:
        {{- include "strongroom.question" . | nindent 8 }}
        periodSeconds: 5
        failureThreshold: 60
      readinessProbe:
        {{- include "strongroom.question" . | nindent 8 }}
        periodSeconds: 30
      livenessProbe:
        {{- include "strongroom.question" . | nindent 8 }}
        periodSeconds: 60
        failureThreshold: 5
      {{- end }}
      volumeMounts:
        - {name: config, mountPath: /etc/strongroom, readOnly: true}
        - {name: state, mountPath: /var/lib/strongroom}
        - {name: tmp, mountPath: /tmp}
        {{- if .process.key }}
        - {name: keys, mountPath: /var/lib/strongroom/keys}
        {{- end }}
        - {name: secrets, mountPath: /run/secrets}
        {{- if $values.vault.audience }}
        - {name: vault, mountPath: /run/vault, readOnly: true}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ $name }}}
    - name: state
      {{- if .process.volume }}
      persistentVolumeClaim: {claimName: {{ $name }}-{{ .role }}}
      {{- else }}
      emptyDir: {sizeLimit: {{ .process.scratch | default "1Gi" }}}
      {{- end }}
    - name: tmp
      emptyDir: {medium: Memory, sizeLimit: 64Mi}
    - name: role
      secret: {secretName: {{ include "strongroom.own" . }}, defaultMode: 0444, optional: {{ empty .process.key }}}
    - name: secrets
      emptyDir: {medium: Memory, sizeLimit: 16Mi}
    {{- if .process.key }}
    - name: keys
      emptyDir: {medium: Memory, sizeLimit: 4Mi}
    {{- end }}
    {{- range $index, $secret := $secrets }}
    - name: secret-{{ $index }}
      secret: {secretName: {{ $secret }}, defaultMode: 0444}
    {{- end }}
    {{- if $values.vault.audience }}
    - name: vault
      projected:
        sources:
          - serviceAccountToken:
              path: jwt
              audience: {{ $values.vault.audience | quote }}
              expirationSeconds: {{ int $values.vault.tokenSeconds }}
    {{- end }}
{{- end }}
