"""Compile the pure cores with mypyc: the same sources, the same answers, faster (docs/adr/0010).

    .venv/bin/python tools/compile.py FOLDER [PYTHON]

FOLDER/lib becomes a copy of the packages that are here with the compiled modules beside their sources,
FOLDER/bin/missedcall the command that uses it. Nothing else changes: without FOLDER/lib on the path the sources
run as they are. Needs a C compiler. Shells are not compiled: they wait for sockets and files, not for the
processor. PYTHON is another that has what our packages import, if this one has not.
"""

import os
import shutil
import sys
from pathlib import Path

from mypyc.build import mypycify
from setuptools import setup

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "schemas/missedcall_schemas",
    "services/common/missedcall_common",
    "services/collector/missedcall_collector",
    "services/classifier/missedcall_classifier",
    "services/notifier/missedcall_notifier",
    "services/embedded/missedcall_embedded",
)

COMPILED = (
    "missedcall_common/sip",
    "missedcall_common/placing.py",
    "missedcall_common/runtime/sampling.py",
    "missedcall_classifier",
    *(
        f"missedcall_collector/{name}.py"
        for name in (
            "address", "batching", "correlation", "hep", "hep_packet", "hep_stream", "hep_v1", "hep_v3", "inflate",
            "intake", "ip", "link", "pcap", "pcapng", "sip_stream", "source", "streams", "tcp", "upper_pdu",
            "websocket", "wire",
        )
    ),
)  # fmt: skip
"""What works per message or per call."""

WRONG = "Py_ssize_t slice_len = endn - startn;"
RIGHT = "Py_ssize_t slice_len = endn > startn ? endn - startn : 0;"
"""In mypyc's runtime: `data[5:2]` of bytes raises SystemError there, where Python says b"" (seen in mypy 2.4)."""

INTERPRETED = frozenset(
    {
        *("__init__.py", "__main__.py", "reference.py", "scale_partitions.py"),
        *("decision.py", "policy.py", "policy_settings.py"),
    }
)
"""Not compiled: nothing to gain; started by `python -m`, which asks for a code object; or msgspec Structs, whose
class arguments mypyc leaves out."""

COMMAND = """#!{python}
import sys
sys.path.insert(0, {lib!r})
from missedcall_embedded.cli import main
sys.exit(main())
"""


def modules() -> list[str]:
    """Return the files to compile, relative to the copy, which is where we are."""
    found = []
    for path in filter(Path.exists, map(Path, COMPILED)):
        found += [path] if path.suffix else sorted(path.glob("*.py"))
    return [str(path) for path in found if path.name not in INTERPRETED]


def mend(runtime: Path) -> None:
    """Correct the copy of mypyc's runtime that is compiled with ours."""
    text = runtime.read_text()
    if text.count(WRONG) != 1:
        sys.exit(f"{runtime.name} is another than the one known: does it cut bytes rightly now?")
    runtime.write_text(text.replace(WRONG, RIGHT))


def main(folder: Path, python: str) -> None:
    """Copy, compile, and write the command."""
    lib = folder / "lib"
    shutil.rmtree(lib, ignore_errors=True)
    for package in filter(Path.exists, (ROOT / name for name in PACKAGES)):
        shutil.copytree(package, lib / package.name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    os.chdir(lib)
    os.environ["CFLAGS"] = f"{os.environ.get('CFLAGS', '')} -w"
    extensions = mypycify(
        ["--strict", "--python-executable", python, *modules()],
        opt_level="2",
        debug_level="0",
        multi_file=True,
        target_dir=str(folder / "c"),
    )
    mend(folder / "c" / "bytes_ops.c")
    setup(
        name="missedcall-compiled",
        ext_modules=extensions,
        script_args=["--quiet", "build_ext", "--inplace", "--build-temp", str(folder / "o")],
    )
    command = folder / "bin" / "missedcall"
    command.parent.mkdir(exist_ok=True)
    command.write_text(COMMAND.format(python=sys.executable, lib=str(lib)))
    command.chmod(0o755)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), *(sys.argv[2:] or [sys.executable]))
