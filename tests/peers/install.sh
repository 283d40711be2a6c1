#!/usr/bin/env bash
# Brings the real programs the tests run against into ~/.cache/callscope/peers (or $CALLSCOPE_PEERS): `make peers` calls
# it. That folder serves every clone on the machine.
# Needs Go 1.26.8 or newer; Redis, PostgreSQL, PgBouncer, HAProxy, Chromium and npm come from the system's packages (apt) where missing.
# May be repeated: what is there in the wanted version is left alone. From nothing it takes about 20 minutes on two cores.
set -euo pipefail

readonly BUILDER=v0.158.0    # with the version of collector-config/builder.yaml
readonly PROMETHEUS=v0.316.0 # 3.16.0
readonly ALERTMANAGER=v0.35.0
readonly JAEGER=v1.76.0      # the last 1.x release; its cmd/jaeger is Jaeger 2
readonly KUBERNETES=v1.35.2  # whose description of its API the manifests are held to
readonly KUBECONFORM=v0.8.0
readonly KUSTOMIZE=v5.8.1
readonly COMPOSE=v5.6.0
readonly AXE=4.14.1
readonly AXE_SHA256=29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c

root=$(cd "$(dirname "$0")/../.." && pwd)
readonly root
readonly peers=${CALLSCOPE_PEERS:-~/.cache/callscope/peers}
readonly manifest=$root/collector-config/builder.yaml

export CGO_ENABLED=0 GOBIN=$peers/bin
export GOFLAGS=-buildvcs=false
mkdir -p "$peers/bin" "$peers/versions"
work=$(mktemp -d)
readonly work
trap 'rm -rf "$work"' EXIT
trap 'echo "make peers: failed; what was built stays, run it again" >&2' ERR

# have NAME VERSION: whether this program is there, and in this version.
have() {
  [[ -x $peers/bin/$1 && $(cat "$peers/versions/$1" 2>/dev/null) == "$2" ]]
}

# bring NAME VERSION FUNCTION: run the function unless the program is there.
bring() {
  if have "$1" "$2"; then
    echo "$1 $2: there"
    return
  fi
  echo "$1 $2: building"
  "$3"
  echo "$2" >"$peers/versions/$1"
  echo "$1 $2: built in ${SECONDS}s since the start"
}

# module PATH VERSION: a copy of a module's source, for programs whose go.mod `go install` refuses (it has replacements).
module() {
  local source
  source=$(cd "$work" && go mod download -json "$1@$2" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  cp -r "$source" "$work/source"
  chmod -R u+w "$work/source"
}

build_collector() {
  GOBIN=$work go install "go.opentelemetry.io/collector/cmd/builder@$BUILDER"
  (cd "$work" && ./builder --config "$manifest")
  mv "$work/otelcol-callscope/otelcol-callscope" "$peers/bin/"
}

build_prometheus() {
  # Without the cloud providers' service discovery, which is most of the build and which no test uses.
  go install -tags remove_all_sd -trimpath \
    -ldflags "-s -w -X github.com/prometheus/common/version.Version=${PROMETHEUS/v0.3/3.}" \
    "github.com/prometheus/prometheus/cmd/prometheus@$PROMETHEUS" \
    "github.com/prometheus/prometheus/cmd/promtool@$PROMETHEUS"
}

build_alertmanager() {
  module github.com/prometheus/alertmanager "$ALERTMANAGER"
  # Its pages, which no test looks at, are not in the module; the program embeds whatever is there.
  mkdir -p "$work/source/ui/app/dist"
  echo '<!doctype html><title>Alertmanager</title>' >"$work/source/ui/app/dist/index.html"
  (cd "$work/source" && go install -trimpath \
    -ldflags "-s -w -X github.com/prometheus/common/version.Version=${ALERTMANAGER#v}" ./cmd/alertmanager ./cmd/amtool)
  rm -rf "$work/source"
}

build_jaeger() {
  module github.com/jaegertracing/jaeger "$JAEGER"
  (cd "$work/source" && go build -mod=mod -trimpath -ldflags "-s -w" -o "$peers/bin/jaeger" ./cmd/jaeger)
  rm -rf "$work/source"
}

build_compose() {
  module github.com/docker/compose/v5 "$COMPOSE"
  (cd "$work/source" && go build -mod=mod -trimpath \
    -ldflags "-s -w -X github.com/docker/compose/v5/internal.Version=$COMPOSE" -o "$peers/bin/docker-compose" ./cmd)
  rm -rf "$work/source"
}

build_kubeconform() {
  go install -trimpath -ldflags "-s -w" "github.com/yannh/kubeconform/cmd/kubeconform@$KUBECONFORM"
}

build_kustomize() {
  go install -trimpath -ldflags "-s -w" "sigs.k8s.io/kustomize/kustomize/v5@$KUSTOMIZE"
}

# The API's description, which is a file in Kubernetes' source; nothing of it is built.
bring_kubernetes_schemas() {
  module k8s.io/kubernetes "$KUBERNETES"
  rm -rf "$peers/share/kubernetes"
  python3 "$root/tests/peers/kubernetes_schemas.py" "$work/source/api/openapi-spec/swagger.json" "$peers/share/kubernetes"
  rm -rf "$work/source"
  echo "$KUBERNETES" >"$peers/versions/kubernetes-schemas"
}

# packaged PROGRAM PACKAGE: install a system package whose program is missing.
packaged() {
  if command -v "$1" >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/$1" >/dev/null; then
    echo "$2: there"
    return
  fi
  local sudo=()
  ((EUID == 0)) || sudo=(sudo)
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
  echo "$2: installed"
}

# The checks of accessibility that the tests run in the browser; a file, and no program.
bring_axe() {
  (cd "$work" && npm pack --silent "axe-core@$AXE" && tar -xzf "axe-core-$AXE.tgz")
  echo "$AXE_SHA256  $work/package/axe.min.js" | sha256sum --check --quiet
  mkdir -p "$peers/share"
  mv "$work/package/axe.min.js" "$peers/share/"
  echo "$AXE" >"$peers/versions/axe"
}

packaged redis-server redis-server
packaged postgres postgresql
packaged chromium chromium
packaged haproxy haproxy
packaged pgbouncer pgbouncer
packaged npm npm
if [[ -f $peers/share/axe.min.js && $(cat "$peers/versions/axe" 2>/dev/null) == "$AXE" ]]; then
  echo "axe $AXE: there"
else
  bring_axe
  echo "axe $AXE: brought"
fi
bring otelcol-callscope "$(sha256sum "$manifest" | cut -c1-16)" build_collector
bring prometheus "$PROMETHEUS" build_prometheus
bring alertmanager "$ALERTMANAGER" build_alertmanager
bring jaeger "$JAEGER" build_jaeger
bring docker-compose "$COMPOSE" build_compose
bring kubeconform "$KUBECONFORM" build_kubeconform
bring kustomize "$KUSTOMIZE" build_kustomize
if [[ -d $peers/share/kubernetes && $(cat "$peers/versions/kubernetes-schemas" 2>/dev/null) == "$KUBERNETES" ]]; then
  echo "kubernetes schemas $KUBERNETES: there"
else
  bring_kubernetes_schemas
fi
