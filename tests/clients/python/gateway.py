"""Starts the real `tollgate` binary on a free port with a configuration and a data directory of its own."""

import os
import re
import signal
import subprocess
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BINARIES = Path(os.environ.get("TOLLGATE_BINARIES", ROOT / "target" / "debug"))
START = 120


def secret(name):
    """A declared key of that name, in the form that Tollgate mints."""
    return f"tg_{name:0<12.12}_{name:x<40.40}"


APP = secret("app")
ADMIN = secret("admin")
ONLY_ECHO = secret("onlyecho")
ONLY_MODELS = secret("onlymodels")
EXPIRED = secret("expired")
TWO_A_MINUTE = secret("twoaminute")
ONE_AT_A_TIME = secret("oneatatime")
POOR = secret("poor")
SECRETS = [APP, ADMIN, ONLY_ECHO, ONLY_MODELS, EXPIRED, TWO_A_MINUTE, ONE_AT_A_TIME, POOR, "sk-upstream-secret", "sk-upstream-second"]

# On a busy machine the gateway would shed load for lateness that is not its own.
CONFIG = """
load: {{ max_lag: 0s }}
timeouts: {{ connect: 1s, first_token: 5s, idle: 5s, total: 60s, grace: 2s }}
providers:
  fake: {{ dialect: openai, base_url: "http://127.0.0.1:{upstream}/v1", api_key: sk-upstream-secret }}
  second: {{ dialect: openai, base_url: "http://127.0.0.1:{upstream}/v1", api_key: sk-upstream-second }}
  plain: {{ dialect: compatible, base_url: "http://127.0.0.1:{upstream}/v1", api_key: sk-upstream-secret }}
models:
  "plain/*": {{ targets: [{{ provider: plain, model: "*" }}] }}
  "fake/*": {{ targets: [{{ provider: fake, model: "*" }}] }}
  "pair/*": {{ targets: [{{ provider: fake, model: "*" }}, {{ provider: second, model: "*" }}] }}
  vendor/model-with/slashes: {{ targets: [{{ provider: fake, model: slashes }}] }}
  priced: {{ targets: [{{ provider: fake, model: priced }}], price: {{ input_per_million: 2, output_per_million: 8 }} }}
keys:
  - {{ name: app, key: {app}, tags: {{ service: tests }} }}
  - {{ name: admin, key: {admin}, scopes: [chat, embed, models, usage, admin] }}
  - {{ name: only-echo, key: {only_echo}, models: [echo], scopes: [chat, models] }}
  - {{ name: only-models, key: {only_models}, scopes: [models] }}
  - {{ name: expired, key: {expired}, expires: 2020-01-01 }}
  - {{ name: two-a-minute, key: {two_a_minute}, limits: {{ requests_per_minute: 2 }} }}
  - {{ name: one-at-a-time, key: {one_at_a_time}, limits: {{ concurrent: 1 }} }}
  - {{ name: poor, key: {poor}, budget: {{ usd: 0.001, per: total }} }}
"""


def config(upstream):
    """The configuration that most tests share."""
    return CONFIG.format(
        upstream=upstream.port,
        app=APP,
        admin=ADMIN,
        only_echo=ONLY_ECHO,
        only_models=ONLY_MODELS,
        expired=EXPIRED,
        two_a_minute=TWO_A_MINUTE,
        one_at_a_time=ONE_AT_A_TIME,
        poor=POOR,
    )


class Gateway:
    """A running gateway; `host` and `base_url` say where."""

    def __init__(self, folder, text=None, arguments=()):
        folder = Path(folder)
        command = [BINARIES / "tollgate", "--data-dir", folder / "data"]
        command += ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", *arguments]
        if text is not None:
            file = folder / "tollgate.yaml"
            file.write_text(text)
            command += ["--config", file]
        self.errors = folder / "stderr.log"
        # No provider keys and no configuration of whoever runs the tests.
        clean = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "RUST_BACKTRACE", "LD_LIBRARY_PATH")}
        self._errors = self.errors.open("w")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._errors, stdin=subprocess.DEVNULL, text=True, env=clean
        )
        self.lines = []
        self.host = None
        self.ops = None
        self._news = threading.Condition()
        self._ended = False
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self.wait_for(lambda: self.host or self._ended)
        except AssertionError:
            self.process.kill()
            raise
        if self.host is None:
            raise AssertionError(f"tollgate did not start:\n{self.output()}")
        self.port = int(self.host.rsplit(":", 1)[1])
        self.base_url = f"http://{self.host}/v1"

    def _read(self):
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                found = re.search(r"(callers|operators) +http://(127\.0\.0\.1:\d+)", line)
                if found and found[1] == "callers":
                    self.host = found[2]
                elif found:
                    self.ops = found[2]
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, condition, timeout=START):
        """Waits until something about the printed lines holds."""
        with self._news:
            assert self._news.wait_for(condition, timeout), f"not seen in {timeout} s:\n{self.output()}"

    def output(self):
        return "\n".join(self.lines) + "\n" + self.errors.read_text(errors="replace")

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        """Ends the gateway as an orchestrator would; returns its exit code."""
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(START)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self._errors.close()
        return code
