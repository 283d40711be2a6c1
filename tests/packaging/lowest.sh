#!/usr/bin/env bash
# The lower bounds of pyproject.toml are true: resolves every direct dependency to its lowest version, in an environment
# of its own, and runs the library's and the API's tests on it. `make lowest` calls it.
set -euo pipefail
cd "$(dirname "$0")/../.."

uv=${UV:-$PWD/.venv/bin/uv}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export VIRTUAL_ENV=$folder/venv

"$uv" venv --quiet --python "$(command -v python3.11 || command -v python3)" "$VIRTUAL_ENV"
"$uv" pip compile --quiet --resolution lowest-direct --prerelease if-necessary-or-explicit --extra fleet \
    pyproject.toml -o "$folder/lowest.txt" > /dev/null
# The tests' own tools are not what is tested; they come as they are locked, where that fits.
"$uv" pip install --quiet --prerelease if-necessary-or-explicit -r "$folder/lowest.txt" \
    pytest pytest-asyncio pytest-xdist hypothesis trustme standardwebhooks openapi-spec-validator mypy
"$uv" pip install --quiet --no-deps .
grep -E '^(fastapi|opentelemetry-sdk|pydantic|sqlalchemy)==' "$folder/lowest.txt"
"$VIRTUAL_ENV/bin/python" -m pytest -n auto --dist loadgroup -q -m "not endurance and not peers" \
    tests/telemetry tests/service/api tests/contract "$@"
