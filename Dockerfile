# Two images: `service` (default: also the provider, prober, pager and the one-shot tasks) and `load`
# (Locust). Nothing here needs BuildKit. The base is an argument so that an internal mirror, or a
# stand-in without a registry, can take its place; pin it by digest where you build for production.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm
ARG BUILD_IMAGE=${PYTHON_IMAGE}

FROM ${BUILD_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY deploy/image/service.lock /build/
# Wheels only: a source distribution would run its build here, unlocked, and need a compiler.
RUN python -m venv /opt/firedrill \
 && /opt/firedrill/bin/pip install --require-hashes --no-deps --only-binary :all: -r /build/service.lock

FROM build AS load-build
COPY deploy/image/load.lock /build/
RUN /opt/firedrill/bin/pip install --require-hashes --no-deps --only-binary :all: -r /build/load.lock \
 && /opt/firedrill/bin/pip uninstall --yes --quiet pip setuptools

FROM build AS service-build
RUN /opt/firedrill/bin/pip uninstall --yes --quiet pip setuptools

FROM ${PYTHON_IMAGE} AS load
ENV PATH=/opt/firedrill/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY --from=load-build /opt/firedrill /opt/firedrill
COPY firedrill_kit firedrill_kit
COPY service service
COPY stack stack
COPY loadtests loadtests
COPY firedrill.toml firedrill.toml
USER 10001:10001
EXPOSE 8089 5557
CMD ["locust", "--locustfile", "loadtests/locustfile.py"]

FROM ${PYTHON_IMAGE} AS service
# Bytecode is made here, once: the root file system is read-only where this runs.
ENV PATH=/opt/firedrill/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    SERVICE_HOST=0.0.0.0 LOG_FORMAT=json
ARG REVISION=dev
ENV SERVICE_REVISION=${REVISION}
WORKDIR /app
COPY --from=service-build /opt/firedrill /opt/firedrill
COPY alerting alerting
COPY deploy deploy
COPY stack stack
COPY firedrill_kit firedrill_kit
COPY service service
COPY firedrill.toml firedrill.toml
RUN python -m compileall -q alerting deploy stack firedrill_kit service \
 # A new volume takes the owner of the folder that it is mounted over: these are Compose's.
 && for folder in collector configuration logs state secrets/service secrets/owner secrets/provider \
      secrets/postgres secrets/monitor secrets/grafana; do mkdir -p /var/lib/firedrill/$folder; done \
 && chown -R 10001:10001 /var/lib/firedrill
# Numeric, so that a cluster can check `runAsNonRoot`; it owns nothing in the image.
USER 10001:10001
EXPOSE 8000 9464
STOPSIGNAL SIGTERM
# Liveness only: an orchestrator replaces what fails it. Compose asks /readyz instead, for its order.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-m", "deploy.image.healthcheck", "http://127.0.0.1:9464/livez"]
CMD ["python", "-m", "service"]
