"""Images for the tests that run containers."""

import pytest
from support import containers


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> containers.Environment:
    """Return the environment for buildah and podman, with the services' images there."""
    return containers.images(tmp_path_factory.mktemp("engine"))
