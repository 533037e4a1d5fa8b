# One image per service: --build-arg SERVICE=collector|classifier|notifier. `make images` builds all three.
#
# BASE_IMAGE is any image with Python 3.11 to 3.13 and certificates of authorities; pin it by digest. It needs nothing
# else: the image runs as 65532 on a read-only root, without a shell. BUILD_IMAGE makes the virtual environment: it has
# the same interpreter at the same path and the same or an older C library, a C compiler, and Python's headers. Without
# those, COMPILED=no: the same sources run interpreted, a classifier at a third of the speed (docs/adr/0010).
ARG BASE_IMAGE=python:3.13-slim
ARG BUILD_IMAGE=python:3.13
ARG SERVICE

FROM ${BUILD_IMAGE} AS build
ARG SERVICE
WORKDIR /src
COPY requirements/build.txt requirements/${SERVICE}.txt requirements/
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/missedcall \
 && /build/bin/python -m pip install --quiet --no-cache-dir --require-hashes -r requirements/build.txt \
 && /build/bin/python -m pip --python /opt/missedcall/bin/python3 install --quiet --no-cache-dir --require-hashes \
    --only-binary :all: -r requirements/${SERVICE}.txt
COPY schemas schemas
COPY services/common services/common
COPY services/${SERVICE} services/${SERVICE}
RUN /build/bin/python -m pip wheel --quiet --no-cache-dir --no-deps --no-build-isolation -w wheels \
    ./schemas ./services/common ./services/${SERVICE} \
 && /build/bin/python -m pip --python /opt/missedcall/bin/python3 install --quiet --no-cache-dir --no-deps \
    --no-index wheels/*.whl
COPY pyproject.toml .
COPY tools/compile.py tools/compile.py
ARG COMPILED=yes
RUN if [ "${COMPILED}" = yes ] && [ "${SERVICE}" != notifier ]; then \
      /build/bin/python tools/compile.py build/compiled /opt/missedcall/bin/python3 && cd build/compiled/lib \
      && find . -name '*.so' -exec cp --parents -t \
        "$(/opt/missedcall/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" {} +; \
    fi

FROM ${BASE_IMAGE} AS missedcall
ARG SERVICE
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="missedcall-${SERVICE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/missedcall /opt/missedcall
ENV PATH=/opt/missedcall/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /tmp
STOPSIGNAL SIGTERM
# Fails where BASE_IMAGE and BUILD_IMAGE do not fit together.
RUN ["/opt/missedcall/bin/python3", "-c", "import missedcall_common.sip.message, missedcall_schemas.codec"]

# An entry point cannot name a build argument; a stage can.
FROM missedcall AS collector
ENTRYPOINT ["/opt/missedcall/bin/python3", "-m", "missedcall_collector"]

FROM missedcall AS classifier
ENTRYPOINT ["/opt/missedcall/bin/python3", "-m", "missedcall_classifier"]

FROM missedcall AS notifier
ENTRYPOINT ["/opt/missedcall/bin/python3", "-m", "missedcall_notifier"]

FROM ${SERVICE}
