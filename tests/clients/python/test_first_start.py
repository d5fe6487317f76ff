"""What a newcomer sees: no configuration, one key printed once, and lines to copy."""

import json
import re
import subprocess

import gateway as tollgate


def printed_line(running, program):
    running.wait_for(lambda: any(re.search(rf"(^|\s){program} ", line) for line in running.lines))
    at = next(i for i, line in enumerate(running.lines) if re.search(rf"(^|\s){program} ", line))
    lines = [running.lines[at].strip().lstrip("$").strip()]
    while lines[-1].endswith("\\"):
        at += 1
        lines.append(running.lines[at].strip())
    return "\n".join(lines)


def run(line, folder):
    path = f"{tollgate.BINARIES}:/usr/local/bin:/usr/bin:/bin"
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=60, cwd=folder, env={"PATH": path}
    )


def test_the_printed_curl_line_works_as_it_stands(tmp_path):
    running = tollgate.Gateway(tmp_path)
    try:
        done = run(printed_line(running, "curl"), tmp_path)
        assert done.returncode == 0, done.stderr
        if "data:" in done.stdout:
            assert "data: [DONE]" in done.stdout
        else:
            assert json.loads(done.stdout)["choices"][0]["message"]["content"]
    finally:
        assert running.stop() == 0


def test_the_printed_tollctl_line_works_as_it_stands(tmp_path):
    running = tollgate.Gateway(tmp_path)
    try:
        done = run(printed_line(running, "tollctl"), tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.strip()
    finally:
        assert running.stop() == 0


def test_the_key_is_printed_at_the_first_start_only_and_works_after_the_second(tmp_path):
    first = tollgate.Gateway(tmp_path)
    line = printed_line(first, "curl")
    key = re.search(r"tg_[A-Za-z0-9]{12}_[A-Za-z0-9]{32,}", "\n".join(first.lines))[0]
    old_host = first.host
    assert first.stop() == 0
    second = tollgate.Gateway(tmp_path)
    try:
        done = run(line.replace(old_host, second.host), tmp_path)
        assert done.returncode == 0 and "error" not in done.stdout, done.stdout + done.stderr
        assert key.rsplit("_", 1)[1] not in second.output()
    finally:
        assert second.stop() == 0


def test_a_bad_configuration_is_explained_and_ends_with_78(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("providers:\n  openai: { dialect: opnai, api_key: x }\n")
    done = subprocess.run(
        [tollgate.BINARIES / "tollgate", "--config", file, "--data-dir", tmp_path / "data"],
        capture_output=True, text=True, timeout=60,
    )
    assert done.returncode == 78
    told = done.stdout + done.stderr
    assert "bad.yaml" in told and "2" in told and "openai" in told, told
