# All commands in one image: docker build -t marlserve .
#     docker run --rm -v $PWD/runs:/home/marlserve/runs marlserve marlserve-load-balance train
FROM python:3.12-slim
WORKDIR /marlserve
COPY setup.cfg pyproject.toml constraints.txt README.md LICENSE ./
COPY marlserve marlserve
COPY traces traces
COPY envs envs
COPY policies policies
COPY experiments experiments
COPY serving serving
RUN pip install --no-cache-dir uv \
    && UV_TORCH_BACKEND=cpu uv pip install --system --no-cache -c constraints.txt ".[serve]" \
    && useradd --create-home marlserve && mkdir /models && chown marlserve /models
USER marlserve
WORKDIR /home/marlserve
ENV MODEL_PATH=/models
VOLUME /models
CMD ["marlserve-load-balance", "--help"]
