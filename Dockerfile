# `monai-inn` with the viewer, for one CPU or several:
#     docker build --tag monai-inn .
# for an NVIDIA GPU, with PyTorch built for that version of CUDA:
#     docker build --tag monai-inn:cuda --build-arg TORCH=cu130 .
# docs/deployment.md says how to run it.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY CMakeLists.txt LICENSE MANIFEST.in README.md pyproject.toml setup.py ./
COPY Resources ./Resources
COPY SlicerINN ./SlicerINN
COPY monai_inn ./monai_inn
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim
ARG TORCH=cpu
ARG EXTRAS=cluster,dicom,export,io,registration,viewer
# What the viewer draws with, and what OpenMP of other libraries than PyTorch's needs.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libegl1 libgl1 libgl1-mesa-dri libgomp1 \
    && rm -rf /var/lib/apt/lists/*
# Before the package, so that a change of the package does not download PyTorch again.
RUN pip install --no-cache-dir "torch>=2.8" --index-url "https://download.pytorch.org/whl/${TORCH}"
COPY --from=build /wheels /wheels
# The file by its name, because a package index knows nothing of this package.
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[${EXTRAS}]"
RUN useradd --create-home --uid 1000 inn && install --directory --owner inn /data
USER 1000
WORKDIR /data
ENTRYPOINT ["monai-inn"]
CMD ["--help"]
