"""Images for the tests that run containers."""

import pytest
from support import containers


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> containers.Environment:
    """Return the environment for buildah and podman, with the services' images there."""
    folder = tmp_path_factory.mktemp("engine")
    env = containers.engine(folder)
    python = "python3,python3-venv,ca-certificates"
    containers.system_image(env, containers.BASE, python, folder / "base")
    containers.system_image(env, containers.BUILD, f"{python},python3-dev,gcc,libc6-dev", folder / "build")
    for service in containers.SERVICES:
        containers.service_image(env, service)
    return env
