"""Models on the Hugging Face hub: the files a merge needs of them, and what to say when they fail.

A hub reference is `org/name`, with `/folder` for a model that lies in a folder of its repository,
and with `@revision` for a branch, tag or commit.
"""

from __future__ import annotations

import errno
import glob
from pathlib import Path

from mergelab.checkpoints.pickled_file import ALLOW
from mergelab.errors import UserError

_NEEDED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "README.md")
_PICKLES = ("*.json", "pytorch_model*.bin", "adapter_model.bin")
_LOGIN = "log in with 'hf auth login'"


def download(reference: str, *, allow_pickle: bool = False) -> Path:
    """The folder in the local cache with the model that a hub reference names.

    Fetches its config, tokenizer and safetensors weights, and nothing from other folders; pickled
    weights only with `allow_pickle`, where there are no others. Raises `UserError`, one line that
    says why and what to do, when that cannot be done.
    """
    name, _, revision = reference.partition("@")
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise UserError(f"model '{reference}': neither a folder here nor a hub id")
    repository, place = "/".join(parts[:2]), "/".join([*parts[2:], ""])
    folder = _fetch(reference, repository, revision, place, _NEEDED)
    if any(folder.glob("*.safetensors")):
        return folder
    if allow_pickle:
        folder = _fetch(reference, repository, revision, place, _PICKLES)
        if any(folder.glob("*.bin")):
            return folder
    hint = "" if allow_pickle else f"; if it has pickles (.bin), {ALLOW} reads them"
    raise UserError(
        f"model '{reference}': has no safetensors weights on the hub; name another{hint}"
    )


def download_settings(folder: Path, inside: str) -> None:
    """Put the JSON files of one folder of a hub model beside the files that `download` gave.

    `folder`: what `download` returned; of a folder from elsewhere nothing is fetched. Raises
    `UserError` as `download` does.
    """
    name = hub_name(folder)
    if name is None:
        return
    parts, revision = name.split("/"), _revision(folder)
    place = "/".join([*parts[2:], inside, ""])
    _fetch(name, "/".join(parts[:2]), revision, place, ("*.json",))


def _revision(folder: Path) -> str:
    """The commit of a model in the local cache."""
    parts = folder.absolute().parts
    return parts[parts.index("snapshots") + 1]


def _fetch(
    reference: str, repository: str, revision: str, place: str, wanted: tuple[str, ...]
) -> Path:
    from huggingface_hub import snapshot_download

    inside = glob.escape(place)
    try:
        snapshot = snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=[inside + pattern for pattern in wanted],
            # what Mistral's repositories hold a second time, and folders of other formats
            ignore_patterns=[f"{inside}consolidated*", f"{inside}*/*"],
        )
    except Exception as error:
        raise UserError(f"model '{reference}': {_reason(error, repository, revision)}") from None
    return Path(snapshot) / place


def _reason(error: Exception, repository: str, revision: str) -> str:
    """What went wrong at the hub and what to do, in words; any other error goes on."""
    from huggingface_hub import constants, errors

    local = "no folder of that name here, and "
    if isinstance(error, errors.HFValidationError):
        return "neither a folder here nor a hub id"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"its owner grants access on the hub one by one; accept the terms on the page of "
            f"{repository} there, then {_LOGIN}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{local}on the hub no {repository} either, or a private one; check the spelling, "
            f"or {_LOGIN}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repository} on the hub has no revision '{revision}'; check its branches and tags"
    if isinstance(error, errors.LocalEntryNotFoundError):
        if constants.HF_HUB_OFFLINE:
            return (
                f"{local}not all of it is in the hub's local cache, and HF_HUB_OFFLINE is set; "
                f"unset it, or fetch it with 'hf download {repository}' where there is a connection"
            )
        return f"{local}the hub cannot be reached; check the connection, or give a local folder"
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        status = error.response.status_code
        advice = _LOGIN if status in (401, 403) else "try again later, or give a local folder"
        return f"{local}the hub answered {status}; {advice}"
    if isinstance(error, errors.HTTPError):  # of the HTTP library that huggingface_hub uses
        return f"{local}the hub cannot be reached; check the connection, or give a local folder"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk that holds the hub's cache is full; free some space, or set HF_HOME"
    if isinstance(error, OSError):
        return f"cannot be fetched from the hub ({error.strerror or error})"
    raise error


def hub_name(path: Path) -> str | None:
    """The hub's name of a model in the local cache, None for a folder anywhere else.

    >>> hub_name(Path("hub/models--org--small/snapshots/1a2b/checkpoint-500"))
    'org/small/checkpoint-500'
    """
    parts = Path(path).absolute().parts
    for i in range(len(parts) - 2):
        if parts[i].startswith("models--") and parts[i + 1] == "snapshots":
            repository = parts[i].removeprefix("models--").split("--")
            return "/".join([*repository, *parts[i + 3 :]])
    return None


def short_name(path: Path) -> str:
    """What to call a model in tables: the last part of its name on the hub, or its folder's name.

    >>> short_name(Path("models/base")), short_name(Path("models--org--small/snapshots/1a2b"))
    ('base', 'small')
    """
    return (hub_name(path) or Path(path).name).rsplit("/", 1)[-1]
