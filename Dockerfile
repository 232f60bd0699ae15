# c2d with all its packages, at the versions and digests of constraints/locked-py311.txt. torch brings its own CUDA libraries:
# the host needs NVIDIA's driver and container toolkit alone. Build it in a checkout (docs/install.md, "Containers"):
#   docker build -t c2d .
#   docker run --rm --gpus all --shm-size 8g --user "$(id -u):$(id -g)" -v "$PWD:/work" c2d train student.yaml
ARG BASE=docker.io/library/debian:bookworm-slim
FROM ${BASE}

# Debian keeps one version of each package, so a pin would break the next build.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

# The packages are a layer of their own: 6.5 GB that stay when only our code changes.
COPY .ci/image /opt/c2d-source/.ci/image
COPY constraints /opt/c2d-source/constraints
RUN /opt/c2d-source/.ci/image packages

COPY . /opt/c2d-source
RUN /opt/c2d-source/.ci/image c2d

# A user without a name has no home of his own.
ENV PATH=/opt/c2d/bin:$PATH HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib PYTHONDONTWRITEBYTECODE=1
WORKDIR /work
ENTRYPOINT ["c2d"]
CMD ["--help"]
