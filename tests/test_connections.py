"""Only the files of downloads can open a connection: every import and call of the four packages is read.

`tests/sweeps/node/test_closed_network.py` runs jobs and a report where nothing can be reached.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("c2d", "sweeps", "analysis", "benchmarks")
# Modules that open connections, or whose ordinary use does.
NETWORK = (
    *(
        "urllib.request",
        "urllib.error",
        "http.client",
        "http.server",
        "ftplib",
        "smtplib",
        "imaplib",
        "poplib",
        "xmlrpc",
    ),
    *("requests", "httpx", "httpx2", "aiohttp", "urllib3", "websockets", "paramiko", "boto3", "fsspec", "gdown"),
    *("huggingface_hub", "transformers", "datasets", "open_clip", "wandb", "mlflow", "torch.hub"),
)
CALLS = (
    *("download_url_to_file", "load_state_dict_from_url", "urlopen", "urlretrieve", "create_connection"),
    *("snapshot_download", "load_from_http", "download_and_extract_archive", "getaddrinfo", "gethostbyname", "getfqdn"),
)
COMMANDS = ("curl", "wget", "aria2c", "scp", "rsync", "git clone")
MAY_CONNECT = {
    "c2d/core/download/http_connection.py": {"http.client", "urllib.error", "urllib.request"},
    "c2d/weights/timm_weights.py": {"huggingface_hub", "huggingface_hub.errors"},  # timm's own cache
    # a server that a person names; both stay on this disk by default
    "c2d/tracking/mlflow_tracker.py": {"mlflow.entities", "mlflow.exceptions", "mlflow.tracking"},
    "c2d/tracking/wandb_tracker.py": {"wandb"},
    "c2d/teachers/fitting/text_tower.py": {"open_clip", "pretrained"},  # with --download, or from a file
}
"""{file: what it uses of the above}; each of them connects on request of a person only."""


def uses(tree: ast.AST) -> Iterator[str]:
    """What of a file can open a connection."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if is_network(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from [node.module] if is_network(node.module) else (name for name in inside if is_network(name))
            yield from (alias.name for alias in node.names if alias.name in CALLS)
        elif isinstance(node, ast.Attribute) and (
            node.attr in CALLS or (ast.unparse(node.value) == "socket" and node.attr != "gethostname")
        ):
            yield node.attr
        elif isinstance(node, ast.Call) and "create_model" in ast.unparse(node.func):
            options = {one.arg: one.value for one in node.keywords}
            if "pretrained" in options and ast.unparse(options["pretrained"]) != "False":
                yield "pretrained"
        elif isinstance(node, ast.Constant) and node.value in COMMANDS:
            yield str(node.value)


def is_network(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in NETWORK)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import urllib.request", {"urllib.request"}),
        ("from urllib import request, parse", {"urllib.request"}),
        ("from urllib.parse import quote", set()),
        ("def f():\n    from huggingface_hub import x", {"huggingface_hub"}),
        ("torch.hub.download_url_to_file(a, b)", {"download_url_to_file"}),
        ("torch.hub.get_dir(); socket.gethostname()", set()),
        ("socket.socket()", {"socket"}),
        ("timm.create_model(a, pretrained=False)", set()),
        ("timm.create_model(a, pretrained=True)", {"pretrained"}),
        ("run(['curl', a])", {"curl"}),
        ("from . import requests", set()),
    ],
)
def test_the_reader_sees_every_form(code: str, found: set[str]) -> None:
    assert set(uses(ast.parse(code))) == found


def test_only_the_files_of_downloads_connect() -> None:
    found: dict[str, set[str]] = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if names := set(uses(ast.parse(path.read_text(encoding="utf-8")))):
                found[path.relative_to(ROOT).as_posix()] = names
    assert found == MAY_CONNECT
