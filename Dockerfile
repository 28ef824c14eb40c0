# Five images from one file, chosen by `target`:
#   light    producer, migration and Flower: no TensorFlow
#   backup   light, with PostgreSQL's client programs
#   dicom    node and courier
#   network  worker, trainer and the pages, on the processor
#   gpu      worker on an NVIDIA card
# None holds a secret, all run as user 10001. Health checks stand in docker-compose.yml, for they differ by service.

ARG PYTHON=3.12.12-slim-bookworm

FROM python:${PYTHON} AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# A new volume takes content, owner and mode of the folder it covers; `run` is there for the worker, which mounts memory
# at it in a home that it cannot write. Libraries that want a folder of the user's get /tmp.
RUN groupadd --gid 10001 pneumoscreen \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin pneumoscreen \
    && install -d -o 10001 -g 10001 -m 0750 /var/lib/pneumoscreen /var/lib/pneumoscreen/run
# Empty and root's: Python and Celery import from the folder they are started in before anything else.
WORKDIR /opt/pneumoscreen
CMD ["pneumoscreen", "--help"]

# Everything that may be installed, each file checked against the lock's hashes once. The lock is one for all, so that
# light is built beside TensorFlow here, but its image takes only what it asks for, and with --no-index nothing else.
FROM base AS wheels
COPY requirements.lock ./
RUN pip download --require-hashes --only-binary :all: --dest /wheels --requirement requirements.lock
RUN pip install --no-index --find-links /wheels hatchling
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY queries queries
COPY actions actions
COPY producer producer
COPY worker worker
COPY trainer trainer
COPY node node
COPY courier courier
COPY local local
COPY cli cli
COPY web web
RUN pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels .
# The lock's versions without its hashes, for gpu.
RUN sed -E '/^ +--hash=/d; s/ *\\$//' requirements.lock > /wheels/constraints.txt

FROM base AS light
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-index --find-links /wheels "pneumoscreen[postgresql]"
USER 10001:10001

# Debian's own client is older than the server of docker-compose.yml, so it comes from PostgreSQL's archive, whose
# address and key Debian's package knows.
FROM light AS backup
USER 0:0
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql-common \
    && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
    && apt-get install --yes --no-install-recommends postgresql-client-16 && rm -rf /var/lib/apt/lists/*
USER 10001:10001

FROM base AS dicom
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-index --find-links /wheels "pneumoscreen[courier,postgresql]"
USER 10001:10001

FROM base AS network
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-index --find-links /wheels "pneumoscreen[network,postgresql,trainer,parquet]"
USER 10001:10001

# The lock holds no CUDA: TensorFlow for graphics cards and NVIDIA's libraries come from the index, in the versions that
# the extra and TensorFlow itself ask for, without hashes of ours; all else has the lock's version.
# The program is named as a file: by its name the index could offer another.
FROM base AS gpu
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --find-links /wheels --only-binary :all: --constraint /wheels/constraints.txt \
        "$(echo /wheels/pneumoscreen-*.whl)[gpu,postgresql,trainer,parquet]"
USER 10001:10001
