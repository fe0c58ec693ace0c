# One image per stack: docker build --build-arg STACK=pyg -t matgl-infomax:pyg .
# The stack dgl needs Python 3.11; pyg also runs on 3.12 and 3.13 (--build-arg PYTHON=3.12).
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
ARG STACK=dgl
# Address of an index with torch for the CPU alone, gigabytes smaller. Empty: the usual index, with torch for GPUs.
ARG TORCH_INDEX=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/matgl-infomax
WORKDIR /src
# Dependencies change more rarely than the code, so torch, the largest, is a layer of its own that stays in the cache.
COPY constraints constraints
RUN /opt/matgl-infomax/bin/pip install --no-cache-dir --constraint "constraints/${STACK}.txt" \
    ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} torch
COPY . .
RUN PIP_CONSTRAINT="constraints/${STACK}.txt" /opt/matgl-infomax/bin/pip install --no-cache-dir ".[${STACK}]"

FROM python:${PYTHON}-slim-bookworm
# DGL is linked against GNU's OpenMP. The distribution's release decides its version.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 chemist \
    && install -d -o chemist /work
COPY --from=build /opt/matgl-infomax /opt/matgl-infomax
ENV PATH=/opt/matgl-infomax/bin:$PATH MPLBACKEND=Agg
USER 1000
# Your folder goes here: docker run --rm -v "$PWD:/work" matgl-infomax:dgl check --data my_cifs
WORKDIR /work
ENTRYPOINT ["matgl-infomax"]
CMD ["--help"]
