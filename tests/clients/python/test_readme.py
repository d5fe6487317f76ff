"""What README.md tells people to copy runs as it stands."""

import json
import os
import re
import subprocess
import sys

import pytest

from conftest import STUBS
from gateway import ADMIN, BINARIES, ROOT

README = (ROOT / "README.md").read_text()
ROUTING = (ROOT / "docs/routing.md").read_text()


def blocks(language, text=README):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def run(command, gateway, folder):
    env = {
        "PATH": f"{BINARIES}:{os.environ['PATH']}",
        "PYTHONPATH": STUBS,
        "TOLLGATE_KEY": ADMIN,
        "TOLLGATE_ADDR": gateway.host,
    }
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=folder, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_curl_block_runs(gateway, tmp_path):
    [block] = [b for b in blocks("sh") if b.startswith("curl")]
    told = run(["bash", "-c", block.replace("127.0.0.1:8080", gateway.host)], gateway, tmp_path)
    assert json.loads(told)["choices"][0]["message"]["content"] == "hello there"


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_the_python_blocks_run(gateway, tmp_path, number):
    block = blocks("python")[number].replace("127.0.0.1:8080", gateway.host)
    assert run([sys.executable, "-c", block], gateway, tmp_path).strip() == "hello there"


def test_the_tollctl_lines_run(gateway, tmp_path):
    [block] = [b for b in blocks("sh") if "tollctl chat" in b]
    lines = [line for line in block.splitlines() if line.startswith("tollctl")]
    told = [run(["bash", "-c", line], gateway, tmp_path) for line in lines]
    assert "hello there" in told[0]
    assert "tg_" in told[2]


def test_what_explains_a_route_runs(gateway, tmp_path):
    [block] = [b for b in blocks("sh") if "tollctl explain" in b]
    lines = [line for line in block.splitlines() if line.startswith("tollctl")]
    told = [run(["bash", "-c", line], gateway, tmp_path) for line in lines]
    assert all("echo/echo" in one for one in told), told


@pytest.mark.parametrize("text", [README, ROUTING], ids=["README", "routing"])
def test_the_configuration_is_valid(tmp_path, text):
    [block] = [b for b in blocks("yaml", text) if "listen:" in b or "breaker:" in b]
    secrets = tmp_path / "groq"
    secrets.write_text("gsk-x")
    file = tmp_path / "tollgate.yaml"
    file.write_text(block.replace("/run/secrets/groq", str(secrets)))
    names = ["OPENAI_API_KEY", "OPENAI_KEY_A", "OPENAI_KEY_B", "ANTHROPIC_API_KEY"]
    env = {name: "sk-x" for name in names} | {"SEARCH_KEY": "tg_search000000_" + "x" * 40}
    command = [BINARIES / "tollgate", "check", "--config", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=env)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_paths_it_names_exist():
    named = set(re.findall(r"\]\(([^)#:]+)\)", README))
    named |= {p for p in re.findall(r"`((?:server|client|proto|tests)/[^` ]*)`", README)}
    missing = [path for path in sorted(named) if not (ROOT / path).exists()]
    assert not missing
