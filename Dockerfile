# docker build -t cupola .                                              the processor
# docker build -t cupola:cuda --build-arg EXTRA=cuda .                  NVIDIA; CUDA and cuDNN come as wheels
# docker run -p 127.0.0.1:5272:5272 -v cupola:/models -e CUPOLA_HOST=0.0.0.0 -e CUPOLA_API_KEY=... cupola
#
# Without a key the server listens inside the container only: docs/operations.md has the rest.
# A digest pins it wholly: --build-arg BASE=python:3.12-slim-bookworm@sha256:...
ARG BASE=python:3.12.12-slim-bookworm

FROM ${BASE} AS builder
ARG EXTRA=cpu
WORKDIR /src
COPY pyproject.toml README.md LICENSE models.yaml ./
COPY server ./server
COPY converters ./converters
COPY scripts ./scripts
# Wheels only, so no compiler. The environment has the pip that Cupola depends on and none beside it.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/cupola \
    && python -m pip --python /opt/cupola/bin/python install --quiet --no-compile --only-binary :all: ".[${EXTRA}]"
# ONNX Runtime looks for CUDA where the loader does. One folder of links, since each wheel has a folder of its own.
RUN --mount=type=cache,target=/root/.cache/pip \
    mkdir -p /opt/cupola/cuda \
    && if [ "${EXTRA}" = cuda ]; then \
        python -m pip --python /opt/cupola/bin/python install --quiet --no-compile --only-binary :all: "onnxruntime-gpu[cuda,cudnn]" \
        && find /opt/cupola/lib -path '*/nvidia/*' -name 'lib*.so*' -exec ln -sf -t /opt/cupola/cuda {} +; \
    fi
# Tests and headers of others are 35 MB. Bytecode is made now, since a read-only root never gets it and each worker would
# compile again; not of pip, which runs for a pull from a package index only.
RUN find /opt/cupola/lib -type d '(' -name tests -o -path '*/onnx/backend/test' ')' -prune -exec rm -rf {} + \
    && find /opt/cupola/lib -type f '(' -name '*.pyi' -o -name '*.pxd' -o -name '*.h' ')' -delete \
    && python -m compileall -q -j 0 -x '/site-packages/pip/' --invalidation-mode unchecked-hash /opt/cupola/lib \
    && mkdir -p /models

FROM ${BASE}
LABEL org.opencontainers.image.title="Cupola" \
      org.opencontainers.image.description="An OpenAI-compatible local server for small language models" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=builder /opt/cupola /opt/cupola
COPY --from=builder --chown=10001:10001 /models /models
ENV PATH=/opt/cupola/bin:/usr/local/bin:/usr/bin:/bin \
    LD_LIBRARY_PATH=/opt/cupola/cuda \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    CUPOLA_HOME=/models
# Nothing above runs in this stage, so a base without a shell is as good.
USER 10001:10001
WORKDIR /models
VOLUME /models
EXPOSE 5272
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["/opt/cupola/bin/python", "-P", "-m", "server.healthcheck"]
ENTRYPOINT ["/opt/cupola/bin/python", "-P", "-m", "server"]
CMD ["serve"]
