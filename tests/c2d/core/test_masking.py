"""Secrets are masked by the name before them, by their form, and by the values of this process's secret variables."""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2d.core import provenance
from c2d.core.attempt import attempt
from c2d.core.errors import RunError
from c2d.core.masking import (
    MASK,
    is_secret_name,
    is_secret_variable,
    mask_command,
    mask_environment,
    mask_json,
    mask_text,
)
from c2d.core.run_folder import RunFolder

SECRET = "s3cretValue"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
AWS = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    "name",
    [
        *("SLURM_JWT", "XAUTHORITY", "HF_TOKEN", "C2D_SECRET", "MYSQL_PASS", "AWS_ACCESS_KEY_ID", "SENTRY_DSN"),
        *("DB_PWD", "NCCL_CRED", "COOKIE_JAR", "slurm_jwt", "WEBHOOK_URL"),
    ],
)
def test_a_variable_with_such_a_name_is_masked(name):
    assert is_secret_variable(name)
    assert mask_environment({name: "x"}) == {name: MASK}


@pytest.mark.parametrize(
    "name", ["OMP_NUM_THREADS", "SLURM_TASKS_PER_NODE", "CUDA_VISIBLE_DEVICES", "OLDPWD", "C2D_DATA"]
)
def test_other_variables_are_kept(name):
    assert mask_environment({name: "/data/coco"}) == {name: "/data/coco"}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgres://user:pass@host/db", "postgres://***@host/db"),
        ("redis://:p@ss/w@host", "redis://***@host"),
        ("https://ghp_0123456789@host/a.git", "https://***@host/a.git"),
        ("train --password hunter2 --seed 1", "train --password *** --seed 1"),
        ("train --api-key=abc --seed 1", "train --api-key=*** --seed 1"),
        ("GET /x?token=abc", "GET /x?token=***"),
        ("Authorization: Bearer abc def", "Authorization: ***"),
        ("curl -u me:word host", "curl -u *** host"),
        ('{"access_token": "a b", "n": 1}', '{"access_token": "***", "n": 1}'),
        ("{'clientSecret': 'a'}", "{'clientSecret': '***'}"),
        (f"value {JWT} ends", "value *** ends"),
        ("AKIAIOSFODNN7EXAMPLE", "***"),
        (f"with {AWS}", "with ***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "***"),
        ("export WANDB_API_KEY='a b'", "export WANDB_API_KEY='***'"),
        ("GET /x?key=abc", "GET /x?key=***"),
        # a secret inside the value of another name
        ("url=https://h/?a=1&token=abc", "url=https://h/?a=1&token=***"),
        ("--comment=token=abc", "--comment=token=***"),
        ("--export=ALL,HF_TOKEN=abc", "--export=ALL,HF_TOKEN=***"),
        ('{"url": "https://h/?sig=abc"}', '{"url": "https://h/?sig=***"}'),
        ("--wrap='curl --password abc'", "--wrap='curl --password ***'"),
        ("Server=h;User Id=u;Password=abc", "Server=h;User Id=u;Password=***"),
        ("curl https://hooks.slack.com/services/T0/B0/abc -d x", "curl https://hooks.slack.com/*** -d x"),
        ("https://discord.com/api/webhooks/1/abc", "https://discord.com/api/webhooks/***"),
        ("https://api.telegram.org/bot1:abc/send", "https://api.telegram.org/***"),
        ("docker login -u me -p abc", "docker login -u me -p ***"),
        ("mysql -u me -pabc db", "mysql -u me -p*** db"),
        ("echo abc | docker login --password-stdin", "echo *** | docker login --password-stdin"),
        ("curl -ume:abc x", "curl -u*** x"),
        ("train --key=abc", "train --key=***"),
        ("{'key': 'a', 'userKey': 'b', 'ssh_key': 'c'}", "{'key': '***', 'userKey': '***', 'ssh_key': '***'}"),
    ],
)
def test_a_secret_in_a_text(text, masked):
    assert mask_text(text, {}) == masked


@pytest.mark.parametrize(
    "text",
    [
        "num_tokens=197 key_dim=64 tokens: 3",
        "git 0123456789abcdef0123456789abcdef01234567",
        "https://host:8080/path?page=2",
        "p.yaml:3: environment.API_KEY: must be text, not a number",
        "unknown key 'x'; known: a, b",
        "/data/coco/train2017/000000000009.jpg: no image",
        "TypeError: __init__() got an unexpected keyword argument 'x'",
        "unexpected key: neck.convs.0",
        "best key=coco/bbox_mAP",
        "donkey: 4 boxes, monkey=3, turkey: 0.31 AP, hockey: 2",
    ],
)
def test_a_text_without_a_secret_is_kept(text):
    assert mask_text(text, {}) == text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("DESKTOP_SESSION", "ubuntu"),
            ("XDG_SESSION_CLASS", "background"),
            ("KEYMAP", "german"),
            ("MONKEY", "monkeys"),
        ),
        *(("GIT_AUTHOR_NAME", "retinanet1"), ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/1000/bus")),
        *(("SESSION_MANAGER", "local/host1:@/tmp/.ICE-unix/1"), ("KEYTIMEOUT", "100000"), ("HF_TOKEN", "1")),
    ],
)
def test_an_ordinary_value_of_a_variable_is_not_masked_in_other_texts(name, value):
    text = f"/home/{value}/runs: {value} "
    environment = {"C2D_DATA": text, name: value}
    masked = text if name != "MONKEY" else text.replace(value, MASK)  # ends in KEY: cannot be told from a key
    assert mask_text(text, environment) == mask_environment(environment)["C2D_DATA"] == masked


def test_values_of_secret_variables_are_masked_in_other_texts():
    environment = {"DB_PASSWORD": "hunter2", "C2D_TOKEN": "secret", "SESSION_COOKIE_JAR": "a1b2c3d4e5"}
    assert mask_text("xhunter2y, secretary, /secret/, a1b2c3d4e5", environment) == "x***y, secretary, /***/, ***"


def test_flag_and_value_can_be_two_arguments():
    assert mask_command(["c2d", "train", "--password", "a b", "-u", "me:x"], {}) == [
        "c2d",
        "train",
        "--password",
        MASK,
        "-u",
        MASK,
    ]


def test_json_is_masked_by_key_and_by_value():
    value = {"environment": {"HF_TOKEN": "a", "A": "https://u:p@h"}, "setup": ["x --token b"], "gpus": 1}
    assert mask_json(value, {}) == {
        "environment": {"HF_TOKEN": MASK, "A": "https://***@h"},
        "setup": ["x --token ***"],
        "gpus": 1,
    }


def test_names():
    assert all(map(is_secret_name, ("api-key", "accessToken", "--password", "DB_PASS", "userPassword", "secretkey")))
    assert not any(map(is_secret_name, ("tokens", "key_dim", "passes", "author", "seed", "keypoints")))


WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=1, max_size=8)
SECRETS = st.text("abcXYZ0189!#$%^*+_~-/@:.", min_size=10, max_size=24).map(lambda text: f"q{text}q")
PLACES = [
    lambda word, secret: {f"C2D_{word}_TOKEN": secret},
    lambda word, secret: {"SLURM_JWT": secret, f"C2D_{word}": f"x {secret} y"},
    lambda word, secret: {f"SLURM_{word}": f"postgres://{word}:{secret}@host/x"},
    lambda word, secret: {f"C2D_{word}": f"--password {secret} --x {word}"},
    lambda word, secret: {f"C2D_{word}": f"{word} token={secret}"},
    lambda word, secret: {f"C2D_{word}": f"Authorization: Bearer {secret}"},
    lambda word, secret: {f"C2D_{word}": json.dumps({"api_key": secret})},
    lambda word, secret: {"SOMETHING_PASSWORD": secret, "C2D_DATA": f"/data/{secret}"},
]


@settings(max_examples=150, deadline=None)
@given(place=st.sampled_from(PLACES), word=WORDS, secret=SECRETS, kind=st.sampled_from(["environment", "command"]))
def test_a_secret_anywhere_in_the_environment_is_not_written(place, word, secret, kind):
    environment = place(word, secret)
    if kind == "environment":
        written = json.dumps(mask_environment(environment))
    else:
        written = json.dumps(mask_command(["c2d", "train", *environment.values()], environment))
    assert secret not in written


@pytest.fixture
def hostile(monkeypatch):
    """An environment and a command line full of one secret."""
    monkeypatch.setenv("SLURM_JWT", SECRET)
    monkeypatch.setenv("C2D_PROXY", f"http://me:{SECRET}x@host")
    monkeypatch.setenv("C2D_FLAGS", f"--password {SECRET}")
    monkeypatch.setattr(sys, "argv", ["c2d", "train", "--token", SECRET, f"https://u:{SECRET}@h/x", f"a={SECRET}"])


def test_env_json_status_and_log_have_no_secret(hostile, tmp_path: Path):
    folder = RunFolder(tmp_path / "run")

    def download():
        with attempt(folder, quiet=True) as log:
            log.info(f"downloading https://me:{SECRET}@host/weights")
            raise OSError(f"cannot read https://u:{SECRET}@host/x?sig=abcdef")

    with pytest.raises(RunError):
        download()
    files = {path.name: path.read_text() for path in folder.path.rglob("*") if path.is_file()}
    assert {"env.json", "status.json", "log.txt"} <= files.keys()
    assert not [name for name, text in files.items() if SECRET in text or "abcdef" in text]
    facts = json.loads(files["env.json"])["attempts"][0]
    assert facts["command"][:3] == ["c2d", "train", "--token"]
    assert facts["environment"]["SLURM_JWT"] == MASK


def test_provenance_keeps_what_is_no_secret(monkeypatch):
    monkeypatch.setenv("C2D_DATA", "/data/coco")
    monkeypatch.setattr(sys, "argv", ["c2d", "train", "spec.yaml", "--seed", "3"])
    facts = provenance.attempt_facts()
    assert facts["command"] == ["c2d", "train", "spec.yaml", "--seed", "3"]
    assert facts["environment"]["C2D_DATA"] == "/data/coco"
