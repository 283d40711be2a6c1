# The service as a small image: an interpreter, the locked dependencies, the package, a user without rights.
# The base is pinned to a release; raise it to take security fixes.

FROM python:3.11.14-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# The build backend comes from the development lock, so that it, too, is checked against a hash.
COPY requirements.lock requirements-dev.lock ./
RUN python -m venv /backend \
 && /backend/bin/pip install --require-hashes --no-deps -r requirements-dev.lock \
 && python -m venv /app \
 && /app/bin/pip install --require-hashes --no-deps -r requirements.lock
COPY pyproject.toml README.md ./
COPY telemetry telemetry
COPY service service
RUN /backend/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /app/bin/pip install --no-deps dist/*.whl \
 && /app/bin/pip uninstall --yes pip setuptools

FROM python:3.11.14-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/callscope callscope
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GRPC_VERBOSITY=NONE \
    HOST=0.0.0.0 \
    SPILL_FOLDER=/var/lib/callscope/spill
USER 10001
# Call records wait here while the database is away: mount a volume to keep them over a restart.
WORKDIR /var/lib/callscope
EXPOSE 8000
# Readiness does not depend on the telemetry backend.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
CMD ["callscope", "serve"]
