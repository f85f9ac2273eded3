# One image for all ways to run it: as a sidecar (`network_mode: service:app`), on a network, on the host's network.

FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv --without-pip /opt/resolver && python -m venv /opt/build
# Dependencies before the source: they change less often, and a layer that has not changed is not built again.
COPY requirements.lock requirements-build.lock ./
RUN /opt/build/bin/pip --python /opt/resolver/bin/python install --require-hashes --only-binary :all: -r requirements.lock \
 && /opt/build/bin/pip install --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY resolver resolver
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && /opt/build/bin/pip --python /opt/resolver/bin/python install --no-deps --no-index /dist/*.whl

FROM python:3.13-slim
# What --take-over and --attach set their redirect with.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libnftables1 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/resolver /opt/resolver
ENV PATH=/opt/resolver/bin:$PATH PYTHONUNBUFFERED=1

# No USER line: the parent process needs root to open port 53 in a network namespace it shares (there the port is
# privileged), to read the engine's socket (root's, by default), for --take-over (NET_ADMIN) and for --attach. It reads no
# packet. The process that does, its child, gives root up by itself before the first one. Where none of these is needed
# the whole of it runs as anybody: `--user 65534:GROUP --listen :5353`, GROUP being the one the engine's socket belongs to.

HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["resolver", "check"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["resolver"]
CMD ["serve"]
