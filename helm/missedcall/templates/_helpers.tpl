{{- define "missedcall.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 36 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 36 characters: with what Kubernetes adds, a pod's name stays below the 64 of a collector's name. */}}
{{- define "missedcall.fullname" -}}
{{- $name := include "missedcall.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 36 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 36 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 36 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "missedcall.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "missedcall.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Labels of an object: (dict "root" $ "component" "collector"), the component may be left out. */}}
{{- define "missedcall.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{ include "missedcall.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "missedcall.selector" -}}
app.kubernetes.io/name: {{ include "missedcall.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "missedcall.image" -}}
{{- $image := .image -}}
{{- $repository := ternary (printf "%s/%s" .root.Values.image.registry $image.repository) $image.repository (ne .root.Values.image.registry "") -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (coalesce $image.tag .root.Values.image.tag .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* What runs, as JSON: a list of name, values, kind, group and topic; notifiers have the values of all channels, too. */}}
{{- define "missedcall.components" -}}
{{- $found := list -}}
{{- if .Values.collector.enabled -}}
{{- $found = append $found (dict "name" "collector" "kind" .Values.collector.kind "values" .Values.collector) -}}
{{- end -}}
{{- if .Values.classifier.enabled -}}
{{- $found = append $found (dict "name" "classifier" "kind" "StatefulSet" "values" .Values.classifier "group" (include "missedcall.classifierGroup" .) "topic" "sip-transactions") -}}
{{- end -}}
{{- range $channel := include "missedcall.channels" . | fromJsonArray -}}
{{- $own := index $.Values.notifier.channels $channel -}}
{{- $values := mergeOverwrite (omit (deepCopy $.Values.notifier) "channels") (deepCopy $own) -}}
{{- $group := printf "%s-%s" (include "missedcall.notifierApplication" $) $channel -}}
{{- $found = append $found (dict "name" (printf "notifier-%s" $channel) "kind" "Deployment" "values" $values "channel" $channel "group" $group "topic" "missed-calls") -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}

{{/* The channels that are on, as JSON. */}}
{{- define "missedcall.channels" -}}
{{- $found := list -}}
{{- range $channel, $values := .Values.notifier.channels -}}
{{- if $values.enabled -}}{{- $found = append $found $channel -}}{{- end -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}

{{- define "missedcall.classifierGroup" -}}
{{- default (printf "%smissedcall-classifier" .Values.kafka.prefix) .Values.classifier.application -}}
{{- end -}}

{{- define "missedcall.notifierApplication" -}}
{{- default (printf "%smissedcall-notifier" .Values.kafka.prefix) .Values.notifier.application -}}
{{- end -}}

{{/* Name of a topic on the cluster: (dict "root" $ "topic" "missed-calls"). */}}
{{- define "missedcall.topic" -}}
{{- $generation := int .root.Values.kafka.generation -}}
{{- printf "%s%s%s" .root.Values.kafka.prefix .topic (ternary (printf ".g%d" $generation) "" (gt $generation 1)) -}}
{{- end -}}

{{/* How the log is cut now, as JSON: generation and partitions. */}}
{{- define "missedcall.cut" -}}
{{- $kafka := .Values.kafka -}}
{{- $cut := ternary $kafka.cut (dict "generation" $kafka.generation "partitions" $kafka.partitions) (gt (int $kafka.cut.generation) 0) -}}
{{- dict "generation" (int $cut.generation) "partitions" (int $cut.partitions) | toJson -}}
{{- end -}}

{{/* Behind names that are of a cut: ".g2" once the log was cut anew. */}}
{{- define "missedcall.cutSuffix" -}}
{{- $cut := include "missedcall.cut" . | fromJson -}}
{{- if gt (int $cut.generation) (int .Values.kafka.generation) -}}
{{- printf ".g%d" (int $cut.generation) -}}
{{- end -}}
{{- end -}}

{{/* Who a component is to Kafka, as JSON: username and secret. (dict "root" $ "component" "collector" "auth" ...) */}}
{{- define "missedcall.login" -}}
{{- $user := dict "username" .root.Values.kafka.auth.username "secret" .root.Values.kafka.auth.secret -}}
{{- if .root.Values.strimzi.users.enabled -}}
{{- $name := printf "%s-%s" (include "missedcall.fullname" .root) .component -}}
{{- $user = dict "username" $name "secret" $name -}}
{{- end -}}
{{- mergeOverwrite $user (deepCopy (default dict .auth)) | toJson -}}
{{- end -}}

{{/* The value of a variable: lists separated by commas, whole numbers whole. */}}
{{- define "missedcall.value" -}}
{{- if kindIs "slice" . -}}
{{- join "," . -}}
{{- else if and (kindIs "float64" .) (eq (float64 (int64 .)) .) -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* Variables about Kafka: (dict "root" $ "component" ... "auth" ...). */}}
{{- define "missedcall.kafkaEnv" -}}
{{- $kafka := .root.Values.kafka -}}
{{- $login := include "missedcall.login" . | fromJson -}}
- name: MISSEDCALL_KAFKA_BOOTSTRAP
  value: {{ join "," $kafka.bootstrapServers | quote }}
{{- with $kafka.prefix }}
- name: MISSEDCALL_KAFKA_PREFIX
  value: {{ . | quote }}
{{- end }}
- name: MISSEDCALL_KAFKA_GENERATION
  value: {{ int $kafka.generation | quote }}
- name: MISSEDCALL_KAFKA_PARTITIONS
  value: {{ int $kafka.partitions | quote }}
{{- if $kafka.tls.enabled }}
- name: MISSEDCALL_KAFKA_TLS
  value: "true"
{{- if or $kafka.tls.ca.secret $kafka.tls.ca.configMap }}
- name: MISSEDCALL_KAFKA_TLS_CA_FILE
  value: /etc/missedcall/kafka-ca/ca.crt
{{- end }}
{{- if $kafka.tls.clientCertificate }}
- name: MISSEDCALL_KAFKA_TLS_CERT_FILE
  value: /etc/missedcall/kafka-login/user.crt
- name: MISSEDCALL_KAFKA_TLS_KEY_FILE
  value: /etc/missedcall/kafka-login/user.key
{{- end }}
{{- end }}
{{- with $kafka.sasl.mechanism }}
- name: MISSEDCALL_KAFKA_SASL_MECHANISM
  value: {{ . }}
- name: MISSEDCALL_KAFKA_SASL_USERNAME
  value: {{ required "kafka.auth.username is not set: kafka.sasl.mechanism needs it" $login.username | quote }}
- name: MISSEDCALL_KAFKA_SASL_PASSWORD_FILE
  value: /etc/missedcall/kafka-login/password
{{- end }}
{{- end -}}

{{- define "missedcall.kafkaMounts" -}}
{{- $kafka := .root.Values.kafka -}}
{{- if and $kafka.tls.enabled (or $kafka.tls.ca.secret $kafka.tls.ca.configMap) }}
- name: kafka-ca
  mountPath: /etc/missedcall/kafka-ca
  readOnly: true
{{- end }}
{{- if or $kafka.sasl.mechanism $kafka.tls.clientCertificate }}
- name: kafka-login
  mountPath: /etc/missedcall/kafka-login
  readOnly: true
{{- end }}
{{- end -}}

{{- define "missedcall.kafkaVolumes" -}}
{{- $kafka := .root.Values.kafka -}}
{{- $login := include "missedcall.login" . | fromJson -}}
{{- if $kafka.tls.enabled }}
{{- if $kafka.tls.ca.secret }}
- name: kafka-ca
  secret:
    secretName: {{ $kafka.tls.ca.secret }}
    items: [{key: {{ $kafka.tls.ca.key | quote }}, path: ca.crt}]
{{- else if $kafka.tls.ca.configMap }}
- name: kafka-ca
  configMap:
    name: {{ $kafka.tls.ca.configMap }}
    items: [{key: {{ $kafka.tls.ca.key | quote }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- if or $kafka.sasl.mechanism $kafka.tls.clientCertificate }}
- name: kafka-login
  secret:
    secretName: {{ required "kafka.auth.secret is not set: a login or a certificate needs it" $login.secret }}
    items:
      {{- if $kafka.sasl.mechanism }}
      - {key: password, path: password}
      {{- end }}
      {{- if $kafka.tls.clientCertificate }}
      - {key: user.crt, path: user.crt}
      - {key: user.key, path: user.key}
      {{- end }}
{{- end }}
{{- end -}}

{{- define "missedcall.otelEnv" -}}
{{- range $name, $value := .Values.otel }}
- name: {{ $name }}
  value: {{ include "missedcall.value" $value | quote }}
{{- end }}
{{- end -}}

{{/* Variables of a component's `settings` and `files`. */}}
{{- define "missedcall.ownEnv" -}}
{{- range $name, $value := .settings }}
- name: {{ $name }}
  value: {{ include "missedcall.value" $value | quote }}
{{- end }}
{{- range $name, $file := .files }}
- name: {{ $name }}
  value: {{ printf "/etc/missedcall/files/%s%s" (include "missedcall.volume" $name) (ternary (printf "/%s" $file.key) "" (hasKey $file "key")) | quote }}
{{- end }}
{{- end -}}

{{/* MISSEDCALL_NOTIFY_SMTP_PASSWORD_FILE -> notify-smtp-password-file */}}
{{- define "missedcall.volume" -}}
{{- . | trimPrefix "MISSEDCALL_" | lower | replace "_" "-" -}}
{{- end -}}

{{- define "missedcall.fileMounts" -}}
{{- range $name, $file := . }}
- name: {{ include "missedcall.volume" $name }}
  mountPath: /etc/missedcall/files/{{ include "missedcall.volume" $name }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "missedcall.fileVolumes" -}}
{{- range $name, $file := . }}
- name: {{ include "missedcall.volume" $name }}
  {{- if $file.secret }}
  secret:
    secretName: {{ $file.secret }}
  {{- else }}
  configMap:
    name: {{ $file.configMap }}
  {{- end }}
  {{- if $file.key }}
    items: [{key: {{ $file.key | quote }}, path: {{ $file.key | quote }}}]
  {{- end }}
{{- end }}
{{- end -}}

{{/* What all pods have in common, for (dict "root" $ "component" "collector" "values" ...). */}}
{{- define "missedcall.podCommon" -}}
serviceAccountName: {{ include "missedcall.serviceAccountName" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  {{- with .values.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "missedcall.selector" . | nindent 8 }}
  {{- end }}
terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
{{- end -}}

{{/* Neither probe asks whether Kafka is there; the first two minutes are for loading what a worker has to know. */}}
{{- define "missedcall.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: health}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}

{{- define "missedcall.podLabels" -}}
{{- include "missedcall.labels" . }}
{{- with .values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What cannot work, said before anything is changed. */}}
{{- define "missedcall.check" -}}
{{- if not .Values.kafka.bootstrapServers -}}
{{- fail "kafka.bootstrapServers is not set: expected some of the brokers, [kafka:9092]; the chart brings no Kafka" -}}
{{- end -}}
{{- $c := .Values.collector -}}
{{- if and $c.enabled (not (or $c.udp.enabled $c.tcp.enabled $c.tls.enabled)) -}}
{{- fail "collector.udp, tcp and tls are all off: expected one of them" -}}
{{- end -}}
{{- if and $c.enabled $c.tls.enabled (not $c.tls.secret) -}}
{{- fail "collector.tls.secret is not set: expected a Secret with tls.crt and tls.key" -}}
{{- end -}}
{{- if and $c.tcp.enabled $c.tls.enabled (eq (int $c.tcp.port) (int $c.tls.port)) -}}
{{- fail "collector.tls.port is that of TCP: expected another" -}}
{{- end -}}
{{- if and (eq $c.kind "DaemonSet") (ne $c.autoscaling.type "none") -}}
{{- fail "collector.autoscaling has no meaning for a DaemonSet: expected none" -}}
{{- end -}}
{{- $cut := include "missedcall.cut" . | fromJson -}}
{{- if and (gt (int .Values.kafka.cut.generation) 0) (or (le (int $cut.generation) (int .Values.kafka.generation)) (le (int $cut.partitions) (int .Values.kafka.partitions))) -}}
{{- fail "kafka.cut: expected generation and partitions as scale-partitions printed them, beyond those of the installation" -}}
{{- end -}}
{{- if and .Values.scalePartitions.enabled (eq .Values.scalePartitions.step "ensure") (le (int .Values.scalePartitions.to) (int .Values.kafka.partitions)) -}}
{{- fail (printf "scalePartitions.to = %d: expected a multiple of the partitions that there are" (int .Values.scalePartitions.to)) -}}
{{- end -}}
{{- if and .Values.scalePartitions.enabled (not .Values.classifier.enabled) -}}
{{- fail "scalePartitions needs the classifier, whose image and settings it has" -}}
{{- end -}}
{{- $most := ternary (int .Values.classifier.replicas) (int .Values.classifier.autoscaling.maxReplicas) (eq .Values.classifier.autoscaling.type "none") -}}
{{- if and .Values.classifier.enabled (gt $most (int $cut.partitions)) -}}
{{- fail (printf "%d classifiers for %d partitions: expected no more workers than partitions" $most (int $cut.partitions)) -}}
{{- end -}}
{{- if and .Values.classifier.users (hasKey .Values.classifier.files "MISSEDCALL_DECIDE_USERS_FILE") -}}
{{- fail "classifier.users and classifier.files.MISSEDCALL_DECIDE_USERS_FILE are both set: expected one of them" -}}
{{- end -}}
{{- if and (or (eq .Values.topics.mode "strimzi") .Values.strimzi.users.enabled) (not .Values.strimzi.cluster) -}}
{{- fail "strimzi.cluster is not set: expected the name of the Kafka object" -}}
{{- end -}}
{{- if and .Values.strimzi.users.enabled (eq .Values.topics.mode "job") -}}
{{- fail "topics.mode = job with strimzi.users: the job runs before its user is there; expected topics.mode: strimzi, or none" -}}
{{- end -}}
{{- if .Values.strimzi.users.enabled -}}
{{- if and (eq .Values.strimzi.users.authentication "tls") (not .Values.kafka.tls.clientCertificate) -}}
{{- fail "strimzi.users.authentication = tls: expected kafka.tls.enabled and kafka.tls.clientCertificate" -}}
{{- end -}}
{{- if and (eq .Values.strimzi.users.authentication "scram-sha-512") (ne .Values.kafka.sasl.mechanism "SCRAM-SHA-512") -}}
{{- fail "strimzi.users.authentication = scram-sha-512: expected kafka.sasl.mechanism: SCRAM-SHA-512" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.kafka.tls.clientCertificate (not .Values.kafka.tls.enabled) -}}
{{- fail "kafka.tls.clientCertificate is set, but kafka.tls.enabled is not" -}}
{{- end -}}
{{- $found := lookup "v1" "ConfigMap" .Release.Namespace (printf "%s-layout" (include "missedcall.fullname" .)) -}}
{{- with (dig "data" nil (default dict $found)) -}}
{{- if and (eq .prefix $.Values.kafka.prefix) (eq .generation ($.Values.kafka.generation | int | toString)) (ne .partitions ($.Values.kafka.partitions | int | toString)) -}}
{{- fail (printf "kafka.partitions = %d, but generation %s has %s: the count decides which partition a call belongs to and is never changed. Set kafka.partitions: %s, or for more see docs/kubernetes.md#another-partition-count" (int $.Values.kafka.partitions) .generation .partitions .partitions) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
How many pods. Where an autoscaler says it, what is there stays: without a number Kubernetes would take them down to 1
until the autoscaler looks. Takes root, values, kind and name of the workload.
*/}}
{{- define "missedcall.replicas" -}}
{{- if eq .values.autoscaling.type "none" -}}
replicas: {{ .values.replicas }}
{{- else -}}
{{- $found := dig "spec" dict (default dict (lookup "apps/v1" .kind .root.Release.Namespace .name)) -}}
{{- if hasKey $found "replicas" -}}
replicas: {{ $found.replicas }}
{{- end -}}
{{- end -}}
{{- end -}}
