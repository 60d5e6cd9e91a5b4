# The S3 server of the demo, from files whose hashes are checked.

ARG BASE=docker.io/library/python:3.13-slim
FROM ${BASE}
COPY requirements/live/ministack.lock /tmp/ministack.lock
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python -m venv /opt/ministack \
    && /opt/ministack/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes \
        --requirement /tmp/ministack.lock
USER 10001:10001
ENTRYPOINT ["/opt/ministack/bin/ministack"]
