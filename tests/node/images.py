"""Builds what the pods of `make node-test` run, as archives in build/node/images; Kafka has to be there, too."""

import shutil
import tempfile
from pathlib import Path

from kafka_nodes import have_jars
from support import containers, node
from support.containers import SERVICES, run

PAUSE = "localhost/missedcall-pause:1"


def main() -> None:
    """Build and write them."""
    have_jars()
    shutil.rmtree(node.IMAGES, ignore_errors=True)
    node.IMAGES.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = containers.images(folder)
        context = folder / "pause"
        context.mkdir()
        shutil.copy(node.OWN / "pause", context)
        (context / "Dockerfile").write_text(
            'FROM scratch\nCOPY pause /pause\nUSER 65535\nENTRYPOINT ["/pause"]\n'
        )
        run("buildah", "bud", "--quiet", "-t", PAUSE, str(context), env=env)
        found = {f"missedcall-{service}": f"localhost/missedcall-{service}:0.1.0" for service in SERVICES}
        for short, image in (found | {"pause": PAUSE}).items():
            run(
                "buildah",
                "push",
                "--quiet",
                image,
                f"docker-archive:{node.IMAGES / short}.tar:{image}",
                env=env,
            )


if __name__ == "__main__":
    main()
