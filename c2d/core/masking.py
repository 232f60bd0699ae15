"""Mask passwords, tokens and keys in whatever is stored: environments, command lines, messages, ends of logs.

Three signs are used: the name before a value (`API_KEY`, `--password`, `Authorization:`), the form of the value itself
(a password in a URL, a JSON web token, a key of a cloud), and the values of this process's own secret variables, which
are masked wherever they occur: those of a variable that is a secret by its name (`HF_TOKEN`), and of other variables
(`DESKTOP_SESSION`, `KEYMAP`) what looks like a secret. Standard library only; rather too much than too little.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

MASK = "***"
# In the name of an environment variable: SLURM_JWT, XAUTHORITY, AWS_SECRET_ACCESS_KEY, SENTRY_DSN, DB_PWD.
_VARIABLE = re.compile(
    r"AUTH(?!OR(?!I))|JWT|TOKEN|SECRET|PASS|KEY|CRED|COOKIE|DSN|BEARER|SIGNATURE|SESSION|PRIVATE|CERT|WEBHOOK|CONNECTION_?STR"
    r"|(?<!OLD)PWD.|._?(?<!OLD)PWD$|_PAT$|_SAS$|SALT$",
    re.IGNORECASE,
)
# At the end of the name of a variable whose value is a secret, whatever it looks like.
_CLEARLY_SECRET = re.compile(
    r"(?:TOKEN|SECRET|PASS(?:W(?:OR)?D|PHRASE)?|JWT|COOKIE|CRED(?:ENTIAL)?S?|BEARER|SIGNATURE|DSN|PRIVATE|AUTH(?:ORIZATION)?"
    r"|_PWD|_PAT|_SAS|SALT|KEY(?:_ID)?|WEBHOOK(?:_URL)?)_?\d*$",
    re.IGNORECASE,
)
# A whole part of any other name: password, api-key, accessToken. `tokens` and `key_dim` are no secrets.
_PARTS = frozenset(
    (
        *("pass", "passwd", "password", "passphrase", "pwd", "token", "secret", "apikey", "auth", "authorization"),
        *("jwt", "cookie", "cookies", "credential", "credentials", "creds", "cred", "dsn", "bearer", "signature"),
        *("sig", "sas"),
    )
)
_ENDS = re.compile(
    r"(?:passw(?:or)?d|passphrase|token|secret|cookie|credentials?|jwt|dsn"
    r"|(?:api|access|account|auth|encryption|host|license|master|private|secret|server|shared|signing|ssh|storage)_?key)$"
)
_NAME_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_QUOTED = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
_ASSIGNMENT = re.compile(r"""(?<!\w)(?P<name>\w[\w.\-]{0,200})(?P<sep>\\?["']?\s*(?:=|:(?!//)|%3[dD])\s*)""")
_ASSIGNED = re.compile(rf"""{_QUOTED}|[^\s"']\S*|["']\S*""")
_FLAG = re.compile(r"""(?<![^\s"'])(?P<name>--?[A-Za-z][\w\-]*)(?P<sep>\s+)""")
_OF_FLAG = re.compile(rf"{_QUOTED}|[^\s\-]\S*|-(?!-)\S+")
_CLOSING = re.compile(r"""["'][)\]},;]*$""")
_HEADER = re.compile(
    r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-[\w-]*(?:key|token|auth|secret)[\w-]*)(\\?[\"']?\s*[:=]\s*)[^\r\n]+"
)
_FORMS = (
    # user:password@ and token@ in a URL; a password may hold @ and /
    (
        re.compile(r"(?i)([a-z][a-z0-9+.\-]{0,30}://)(?:[^\s/@:'\"]{0,200}:[^\s'\"]{0,1000}|[^\s/?#'\"]{1,1000})@"),
        rf"\1{MASK}@",
    ),
    (re.compile(r"(?i)\b(bearer)(\s+)\S+"), rf"\1\2{MASK}"),
    (re.compile(r"\b([Bb]asic)(\s+)(?=\S*[A-Z0-9=])[A-Za-z0-9+/=]{6,}"), rf"\1\2{MASK}"),
    (re.compile(r"(?<!\S)(-u[\s=]*|--(?:proxy-)?user[\s=]+)[^\s:]+:\S+"), rf"\1{MASK}"),
    # the address of a webhook is its password
    (
        re.compile(
            r"(?i)(https?://(?:hooks\.[^\s/]{1,100}|api\.telegram\.org|(?:[^\s/]{1,100}/){1,5}?webhooks?)/)[^\s'\"]+"
        ),
        rf"\1{MASK}",
    ),
    # docker login -p, mysql -pPASSWORD, and what is piped into a prompt
    (re.compile(r"(?i)\b(login\b[^\n|;&]{0,200}?\s-p\s*)[^\s\-]\S*"), rf"\1{MASK}"),
    (re.compile(r"\b((?:mysql|mariadb)\w*\b[^\n|;&]{0,200}?\s-p)\w\S*"), rf"\1{MASK}"),
    (
        re.compile(r"\b((?:echo|printf)\s+)[^|\n]{1,500}(?=\|[^|\n]{0,300}(?:--password-stdin|sudo\s+-S))"),
        rf"\1{MASK} ",
    ),
    (re.compile(r"(?i)\b(sshpass\s+-p\s*|wandb\s+login\s+(?:--?\S+\s+)*)[^\s\-]\S*"), rf"\1{MASK}"),
    (re.compile(r"-----BEGIN [A-Z0-9 ]*(?:PRIVATE KEY|CERTIFICATE)[\s\S]*?(?:-----END [A-Z0-9 ]*-----|\Z)"), MASK),
    # JSON web token (its header is an object, so it begins with `{"` in base64)
    (re.compile(r"(?<!\w)eyJ[\w\-]{5,}\.[\w\-]+(?:\.[\w\-]*)*"), MASK),
    # keys with a prefix: AWS, GitHub, GitLab, Hugging Face, Slack, Google, Stripe and others
    (re.compile(r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}\b"), MASK),
    (
        re.compile(
            r"\b(?:gh[opusr]_|github_pat_|glpat-|hf_|xox[a-z]-|sk-|sk_live_|pk_live_|rk_live_|npm_|pypi-|dckr_pat_|AIza|ya29\."
            r"|wandb_v1_)[\w\-]{10,}"
        ),
        MASK,
    ),
)
# The secret key of AWS has 40 characters of base64 and no prefix; digests in hex and paths are no keys.
_BASE64_40 = re.compile(r"(?<![\w/+.\-])[A-Za-z0-9/+]{40}(?![\w/+=.\-])")
_SHORTEST = 6
"""Values of secret variables that are shorter (`1`, `true`) are not searched for in other texts."""


def is_secret_variable(name: str) -> bool:
    """Return whether an environment variable of that name may hold a secret."""
    return bool(_VARIABLE.search(name))


def is_secret_name(name: str) -> bool:
    """Return whether a flag, key or parameter of that name may hold a secret.

    >>> [is_secret_name(name) for name in ("api-key", "accessToken", "WANDB_API_KEY", "num_tokens", "key_dim")]
    [True, True, True, False, False]
    """
    name = name.strip("-.")
    if name.isupper() and len(name) > 1:
        return is_secret_variable(name)
    parts = [part.lower() for part in _NAME_PART.findall(name)]
    return any(part in _PARTS for part in parts) or parts[-1:] == ["key"] or bool(_ENDS.search(name.lower()))


def mask_text(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return a text without the secrets in it, each replaced by `***`.

    Args:
        text: any number of lines.
        environment: values of its secret variables are masked too; this process's environment by default.
    """
    for value in _secret_values(tuple((os.environ if environment is None else environment).items())):
        text = value.sub(MASK, text)
    text = _HEADER.sub(rf"\1\2{MASK}", text)
    for form, shown in _FORMS:
        text = form.sub(shown, text)
    text = _mask_values(text, _ASSIGNMENT, _ASSIGNED)
    text = _mask_values(text, _FLAG, _OF_FLAG)
    return _BASE64_40.sub(lambda found: MASK if _is_random(found.group()) else found.group(), text)


def mask_environment(environment: Mapping[str, str], whole: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return variables in alphabetical order, with `***` for the values of secret ones and for secrets in the others.

    Args:
        environment: the variables to return.
        whole: see `mask_text`; `environment` by default.
    """
    around = environment if whole is None else whole
    return {
        name: MASK if is_secret_variable(name) else mask_text(value, around)
        for name, value in sorted(environment.items())
    }


def mask_command(command: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
    """Return a command line without secrets; also where flag and value are two arguments.

    Args:
        command: the arguments, the program first.
        environment: see `mask_text`.
    """
    masked: list[str] = []
    for at, word in enumerate(command):
        before = command[at - 1] if at else ""
        is_value = before.startswith("-") and "=" not in before and is_secret_name(before)
        is_user = before in ("-u", "--user", "--proxy-user") and ":" in word
        masked.append(MASK if is_value or is_user else mask_text(word, environment))
    return masked


def mask_json(value: Any, environment: Mapping[str, str] | None = None) -> Any:
    """Return a JSON value with every text in it masked; the value of a secret key is `***`.

    Args:
        value: lists, mappings, texts, numbers.
        environment: see `mask_text`.
    """
    if isinstance(value, str):
        return mask_text(value, environment)
    if isinstance(value, Mapping):
        return {
            key: MASK if isinstance(item, str) and is_secret_name(str(key)) else mask_json(item, environment)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask_json(item, environment) for item in value]
    return value


@lru_cache(maxsize=4)
def _secret_values(variables: tuple[tuple[str, str], ...]) -> tuple[re.Pattern[str], ...]:
    """Return patterns of the values of the secret variables, the longest first."""
    found = {value for name, value in variables if is_secret_variable(name) and _is_searched(name, value)}
    return tuple(
        # a word such as `ubuntu` is searched as a whole word
        re.compile(rf"(?<!\w){value}(?!\w)" if value.isalpha() and value.islower() else re.escape(value))
        for value in sorted(found, key=len, reverse=True)
    )


def _is_searched(name: str, value: str) -> bool:
    """True for a value that is searched for in other texts; paths of files that exist are no secrets."""
    if len(value) < _SHORTEST or (value[:1] in "/~." and os.path.exists(value)):
        return False
    return bool(_CLEARLY_SECRET.search(name)) or _looks_secret(value)


def _looks_secret(value: str) -> bool:
    """True for letters and digits mixed, at least eight characters, that are no path, address or number with a unit."""
    mixed = any(char.isdigit() for char in value) and any(char.isalpha() for char in value)
    return mixed and len(value) >= 8 and not re.match(r"[/~.]|[a-z]+:path=|local/", value)


def _mask_values(text: str, names: re.Pattern[str], values: re.Pattern[str]) -> str:
    """Mask the values behind secret names; a value behind another name is searched itself (`url=https://h/?token=x`)."""
    parts, end = [], 0
    for found in names.finditer(text):
        if found.start() < end or not is_secret_name(found["name"]) or _names_a_value(found):
            continue
        value = values.match(text, found.end())
        if value is None or value.group() in ("None", "null") or _is_message(found, value):
            continue
        shown = MASK
        if value.group()[0] in "\"'" and value.group()[-1] == value.group()[0]:
            shown = f"{value.group()[0]}{MASK}{value.group()[0]}"
        elif (closing := _CLOSING.search(value.group())) and closing.start():
            shown += closing.group()
        parts += [text[end : found.end()], shown]
        end = value.end()
    return "".join([*parts, text[end:]])


def _names_a_value(found: re.Match[str]) -> bool:
    """True for a bare "key: lr" of a message; in ?key=, --key= and "key": it is a secret's."""
    before = found.string[found.start() - 1 : found.start()]
    return found["name"] == "key" and before not in ("?", "&", "-") and found["sep"][0] not in "'\"\\"


def _is_message(found: re.Match[str], value: re.Match[str]) -> bool:
    """True for "profile.yaml:3: environment.API_KEY: must be text"."""
    is_message = ":" in found["sep"] and ("." in found["name"] or found["name"] in ("key", "auth"))
    return is_message and bool(re.match(r"[a-z]+ [a-z]", value.group() + found.string[value.end() : value.end() + 2]))


def _is_random(text: str) -> bool:
    kinds = (any(c.islower() for c in text), any(c.isupper() for c in text), any(c.isdigit() for c in text))
    return all(kinds) and text.count("/") <= 3
