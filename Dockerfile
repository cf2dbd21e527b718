# The serving image: a bundle goes in, answers come out, nothing of training is installed. A lake may lie at s3://.
#
#   docker build -t recsys .
#   recsys keys add runs/demo/keys.json me --scope score
#   docker run --rm --user "$(id -u)" -p 127.0.0.1:3000:3000 -v "$PWD/runs/demo:/demo:ro" recsys \
#       serve /demo/bundles/BUNDLE --lake /demo/lake --host 0.0.0.0 --keys /demo/keys.json
#
# tests/test_serving_environment.py carries out the first stage, line by line, in a fresh virtual environment.

FROM python:3.11-slim AS build
ENV ENVIRONMENT=/opt/recsys
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY recsys recsys
COPY training training
COPY serving serving
COPY configs configs
COPY data/catalog data/catalog
RUN python -m venv --upgrade-deps "$ENVIRONMENT"
RUN "$ENVIRONMENT/bin/python" -m pip install --quiet -c constraints.txt '.[serve,objects,traces]'

FROM python:3.11-slim
COPY --from=build /opt/recsys /opt/recsys
ENV PATH=/opt/recsys/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
WORKDIR /srv
USER 65532:65532
EXPOSE 3000
HEALTHCHECK --interval=30s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:3000/healthz', timeout=2)"]
ENTRYPOINT ["recsys"]
CMD ["--help"]
