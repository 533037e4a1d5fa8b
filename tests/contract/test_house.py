"""The rules of the house, as tests: what a core may touch, and what a module owes its reader."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from missedcall_common.runtime.counters import COUNTERS, meaning

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    path.name: path
    for path in (
        ROOT / "schemas/missedcall_schemas",
        ROOT / "services/common/missedcall_common",
        ROOT / "services/collector/missedcall_collector",
        ROOT / "services/classifier/missedcall_classifier",
        ROOT / "services/notifier/missedcall_notifier",
        ROOT / "services/embedded/missedcall_embedded",
    )
}

# fmt: off
OUTSIDE = frozenset((
    "asyncio", "concurrent", "multiprocessing", "select", "selectors", "signal", "subprocess", "threading",
    "http", "socket", "socketserver", "ssl", "aiohttp", "aiosmtplib", "exchangelib", "faust", "kafka", "aiokafka",
    "msal", "urllib3",
    "fcntl", "os", "shutil", "sqlite3", "tempfile",
    "logging", "opentelemetry", "random", "secrets", "time",
))
# fmt: on
"""Clock, chance, files, network, log, threads and the libraries that bring them. A core that imports one is no
function of its arguments any more: replay and the pipeline could decide differently."""

EFFECTS = frozenset(
    {
        *("open", "print", "input"),
        *(".open", ".read_text", ".read_bytes", ".write_text", ".write_bytes", ".mkdir", ".unlink"),
        *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    }
)
"""Calls that do the same without an import."""

SHELLS = frozenset(
    {
        "missedcall_schemas.asyncapi",
        "missedcall_schemas.generate",
        "missedcall_common.kafka.__main__",
        "missedcall_common.kafka.client",
        "missedcall_common.kafka.partitioning",
        "missedcall_common.kafka.topics",
        "missedcall_common.runtime.events",
        "missedcall_common.runtime.health",
        "missedcall_common.runtime.reference",
        "missedcall_common.runtime.telemetry",
        "missedcall_common.runtime.tracing",
        "missedcall_classifier.__main__",
        "missedcall_classifier.scale_partitions",
        "missedcall_classifier.stream.app",
        "missedcall_classifier.stream.audit_topics",
        "missedcall_classifier.stream.eos",
        "missedcall_classifier.stream.partitions",
        "missedcall_classifier.stream.scale",
        "missedcall_collector.__main__",
        "missedcall_collector.binding",
        "missedcall_collector.capture",
        "missedcall_collector.clock",
        "missedcall_collector.collecting",
        "missedcall_collector.connections",
        "missedcall_collector.datagrams",
        "missedcall_collector.inbox",
        "missedcall_collector.listeners",
        "missedcall_collector.pcap_writer",
        "missedcall_collector.publisher",
        "missedcall_collector.relay",
        "missedcall_collector.service",
        "missedcall_collector.spool",
        "missedcall_collector.trial",
        "missedcall_notifier.__main__",
        "missedcall_notifier.app",
        "missedcall_notifier.channels.egress",
        "missedcall_notifier.channels.ews",
        "missedcall_notifier.channels.graph",
        "missedcall_notifier.channels.graph_tokens",
        "missedcall_notifier.channels.threads",
        "missedcall_notifier.channels.exchange",
        "missedcall_notifier.channels.exchange_wire",
        "missedcall_notifier.channels.http",
        "missedcall_notifier.channels.oauth",
        "missedcall_notifier.channels.secret_file",
        "missedcall_notifier.channels.smtp",
        "missedcall_notifier.channels.trust",
        "missedcall_notifier.channels.webhook",
        "missedcall_notifier.checks.__main__",
        "missedcall_notifier.checks.command",
        "missedcall_notifier.checks.kafka",
        "missedcall_notifier.checks.probes",
        "missedcall_notifier.clock",
        "missedcall_notifier.events",
        "missedcall_notifier.journal_sqlite",
        "missedcall_notifier.lane",
        "missedcall_notifier.people.files",
        "missedcall_notifier.source",
        "missedcall_notifier.stages",
        "missedcall_notifier.stream.following",
        "missedcall_notifier.stream.membership",
        "missedcall_notifier.stream.partitions",
        "missedcall_notifier.stream.people",
        "missedcall_notifier.stream.publish",
        "missedcall_notifier.stream.redrive_topics",
        "missedcall_notifier.stream.requests",
        "missedcall_notifier.stream.service",
        "missedcall_notifier.stream.writer",
    }
)
"""Every module below the command that may touch the outside; the rest are cores."""

EMBEDDED_CORES = frozenset(
    {
        "missedcall_embedded.drawing",
        "missedcall_embedded.table",
        "missedcall_embedded.telling",
    }
)
"""The command is a shell by trade; these of its modules are not."""

READERS = frozenset(
    {
        "missedcall_schemas.topics",
        "missedcall_common.runtime.settings",
        "missedcall_classifier.policy_settings",
        "missedcall_collector.settings",
        "missedcall_notifier.wording_files",
    }
)
"""They read a file that a setting names, or one of their own, and are values otherwise: cores may import them."""


def _modules() -> Iterator[tuple[str, Path]]:
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join((package, *parts)).removesuffix(".__init__"), path


MODULES = dict(_modules())


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def _imports(module: str) -> set[str]:
    """Return the full names of what a module imports, wherever in it: modules, or names in them."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def _calls(module: str) -> Iterator[str]:
    for node in ast.walk(_tree(module)):
        match node:
            case ast.Call(func=ast.Name(id=name)):
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name)):
                yield f"{owner}.{name}"
                yield f".{name}"
            case ast.Call(func=ast.Attribute(attr=name)):
                yield f".{name}"


def _touches(module: str) -> set[str]:
    """Return what a module uses of the outside by itself."""
    return ({name.partition(".")[0] for name in _imports(module)} & OUTSIDE) | (EFFECTS & set(_calls(module)))


def _shells_of(module: str) -> set[str]:
    """Return the shells that a module imports."""
    return {name for found in _imports(module) for name in (found, found.rpartition(".")[0])} & (
        SHELLS | EMBEDDED
    )


EMBEDDED = {module for module in MODULES if module.startswith("missedcall_embedded")} - EMBEDDED_CORES
CORES = sorted(MODULES.keys() - SHELLS - READERS - EMBEDDED)


@pytest.mark.parametrize("module", CORES)
def test_a_core_touches_neither_clock_nor_chance_nor_the_outside(module):
    assert _touches(module) == set()


@pytest.mark.parametrize("module", CORES)
def test_a_core_imports_no_shell(module):
    assert _shells_of(module) == set()


@pytest.mark.parametrize("module", sorted(SHELLS))
def test_a_shell_is_there_and_needs_to_be_one(module):
    assert module in MODULES
    assert _touches(module) | _shells_of(module)


@pytest.mark.parametrize("module", sorted(READERS))
def test_a_reader_reads_files_and_nothing_else(module):
    assert _touches(module)
    assert _touches(module) <= {".open", ".read_text", ".read_bytes"}
    assert _shells_of(module) == set()


def test_the_decision_is_a_core():
    assert "missedcall_classifier.engine" in CORES
    assert "missedcall_classifier.rules" in CORES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is(module):
    assert ast.get_docstring(_tree(module))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_typed(package):
    assert (PACKAGES[package] / "py.typed").is_file()


def test_only_the_catalogue_of_events_logs():
    logging = [module for module in MODULES if "logging" in _touches(module)]

    assert logging == ["missedcall_common.runtime.events"]


def _counted(module: str) -> Iterator[str]:
    """Yield the names that a module counts: `counts["limit"]`, or the begin of `counts[f"outcome-{x}"]`."""
    for node in ast.walk(_tree(module)):
        match node:
            case ast.Subscript(value=ast.Name(id=holder) | ast.Attribute(attr=holder), slice=key):
                if holder.endswith("counts"):
                    # The branches of `a if b else c` are among them; what is formatted in is not a name.
                    first = key.values[:1] if isinstance(key, ast.JoinedStr) else ast.walk(key)
                    for part in first:
                        if isinstance(part, ast.Constant) and isinstance(part.value, str):
                            yield part.value


COUNTED = sorted({(module, name) for module in MODULES for name in _counted(module)})


@pytest.mark.parametrize(("module", "name"), COUNTED)
def test_what_is_counted_is_explained(module, name):
    assert meaning(name), f"add {name!r} to missedcall_common.runtime.counters"


@pytest.mark.parametrize("name", COUNTERS)
def test_what_is_explained_is_counted(name):
    assert any(counted == name or counted.startswith(name) for _, counted in COUNTED)
