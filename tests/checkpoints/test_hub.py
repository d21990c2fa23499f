"""Of a model on the hub only what is needed is fetched, and each way to fail is one clear line."""

import errno
import json
import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from huggingface_hub.utils import filter_repo_objects, hf_raise_for_status
from tiny_models import edit_json

from mergelab.checkpoints import Adapter, References, hub_name, short_name
from mergelab.errors import UserError


class Hub:
    """Stands in for `snapshot_download`: copies what it is asked for, and remembers it."""

    def __init__(self, root, repositories):
        self.root, self.repositories = root, repositories
        self.asked = []

    def __call__(self, repo_id, *, revision, allow_patterns, ignore_patterns):
        self.asked.append((repo_id, revision))
        content = self.repositories[repo_id]
        snapshot = self.root / f"models--{repo_id.replace('/', '--')}" / "snapshots" / "1a2b3c"
        files = [str(f.relative_to(content)) for f in sorted(content.rglob("*")) if f.is_file()]
        for file in filter_repo_objects(
            files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        ):
            (snapshot / file).parent.mkdir(parents=True, exist_ok=True)
            (snapshot / file).write_bytes((content / file).read_bytes())
        return str(snapshot)


@pytest.fixture
def hub(tiny, tmp_path, monkeypatch):
    """A hub with a model, an adapter on it, and a repository with a model in a folder."""
    model = tiny.copy("base", tmp_path / "content" / "base")
    for extra in (
        "consolidated.safetensors",
        "pytorch_model.bin",
        "training_args.bin",
        "original/params.json",
        "onnx/model.safetensors",
        "modeling.py",
        "README.md",
    ):
        (model / extra).parent.mkdir(exist_ok=True)
        (model / extra).write_text("---\nlicense: mit\n---\n")
    adapter = tiny.copy("persona", tmp_path / "content" / "persona")
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="org/base", revision="v2")
    nested = tmp_path / "content" / "nested"
    tiny.copy("agentic", nested / "runs" / "last")
    (nested / "runs" / "last" / "optimizer.bin").touch()
    tiny.copy("persona", nested / "runs" / "last" / "checkpoint-3")
    stand_in = Hub(
        tmp_path / "hub",
        {"org/base": model, "org/persona": adapter, "org/nested": nested},
    )
    monkeypatch.setattr(huggingface_hub, "snapshot_download", stand_in)
    return stand_in


def files_in(folder):
    return {str(f.relative_to(folder)) for f in Path(folder).rglob("*") if f.is_file()}


def test_only_the_files_of_a_merge_are_fetched(hub, tiny):
    source = References([]).source("org/base")
    assert files_in(source.path) == files_in(tiny.base) | {"README.md"}
    assert hub.asked == [("org/base", None)]
    assert (source.name, hub_name(source.path)) == ("base", "org/base")


def test_a_revision_a_folder_and_both_are_asked_for(hub):
    references = References([])
    references.source("org/base@v1.0")
    assert hub.asked.pop() == ("org/base", "v1.0")
    references.source("org/base@refs/pr/3")
    assert hub.asked.pop() == ("org/base", "refs/pr/3")
    nested = references.source("org/nested/runs/last@v1")
    assert hub.asked == [("org/nested", "v1")]
    assert files_in(nested.path) == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "README.md",
    }
    assert nested.adapter.names == Adapter(nested.path).names
    assert (nested.name, hub_name(nested.path)) == ("last", "org/nested/runs/last")


def test_an_adapters_base_is_fetched_at_the_revision_it_names(hub):
    references = References([])
    source = references.source("org/persona")
    assert source.base is None
    assert references.base_of(source).fingerprint
    assert hub.asked == [("org/persona", None), ("org/base", "v2")]


def test_base_plus_adapter_may_both_be_on_the_hub(hub):
    source = References([]).source("org/base@v1+org/nested/runs/last")
    assert hub.asked == [("org/base", "v1"), ("org/nested", None)]
    assert short_name(source.base.path) == "base"


def test_an_encoders_pooling_is_fetched_from_its_own_folder(hub):
    from mergelab.evaluation.embedding import Encoder

    content = hub.repositories["org/base"]
    modules = [
        {"type": "models.Transformer", "path": ""},
        {"type": "models.Pooling", "path": "1_P"},
    ]
    (content / "modules.json").write_text(json.dumps(modules))
    (content / "1_P").mkdir()
    (content / "1_P" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    assert Encoder("org/base@v2").pooling == "first"
    assert hub.asked == [("org/base", "v2"), ("org/base", "1a2b3c")]


def test_a_folder_here_goes_before_the_hub(hub, tiny, tmp_path):
    here = tiny.copy("first", tmp_path / "work" / "org" / "base")
    assert References([tmp_path / "work"]).source("org/base").path == here
    assert hub.asked == []


def test_pickles_are_fetched_only_where_allowed_and_where_there_is_nothing_else(hub, tmp_path):
    References([], allow_pickle=True).source("org/base")
    assert not list((tmp_path / "hub").rglob("*.bin"))
    (hub.repositories["org/base"] / "model.safetensors").unlink()
    fetched = tmp_path / "hub" / "models--org--base" / "snapshots" / "1a2b3c"
    (fetched / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no safetensors weights.*--allow-pickle"):
        References([]).source("org/base")
    assert not list((tmp_path / "hub").rglob("*.bin"))
    with pytest.raises(UserError, match=r"pytorch_model\.bin"):  # the stand-in's is no pickle
        References([], allow_pickle=True).source("org/base")
    assert [f.name for f in fetched.glob("*.bin")] == ["pytorch_model.bin"]


# The HTTP library under huggingface_hub, which is not the same in all of its versions.
http = sys.modules[errors.HTTPError.__module__.split(".")[0]]


def answer(status, **headers):
    """The error that huggingface_hub makes of a server's answer."""
    request = http.Request("GET", f"{constants.ENDPOINT}/api/models/org/name/revision/v9")
    headers = {key.replace("_", "-"): value for key, value in headers.items()}
    with pytest.raises(errors.HfHubHTTPError) as raised:
        hf_raise_for_status(http.Response(status, headers=headers, request=request))
    return raised.value


FAILURES = {
    "gated": (lambda: answer(403, X_Error_Code="GatedRepo"), "accept the terms.*hf auth login"),
    "not there": (lambda: answer(404, X_Error_Code="RepoNotFound"), "no org/name.*check the spell"),
    "private": (lambda: answer(401), "no org/name.*or a private one.*hf auth login"),
    "no revision": (
        lambda: answer(404, X_Error_Code="RevisionNotFound"),
        "org/name on the hub has no revision 'v9'",
    ),
    "bad token": (lambda: answer(403), "answered 403; log in with 'hf auth login'"),
    "down": (lambda: answer(503), "answered 503; try again later"),
    "too many requests": (lambda: answer(429), "answered 429; try again later"),
    "not cached": (lambda: errors.LocalEntryNotFoundError("gone"), "cannot be reached"),
    "connection lost": (
        lambda: http.ConnectError("no route"),
        "cannot be reached; check the connection",
    ),
    "disk full": (lambda: OSError(errno.ENOSPC, "No space left on device"), "disk .* is full"),
    "no permission": (lambda: OSError(errno.EACCES, "Permission denied"), "Permission denied"),
}


@pytest.mark.parametrize(("error", "words"), FAILURES.values(), ids=FAILURES.keys())
def test_each_way_to_fail_is_one_line_that_says_what_to_do(monkeypatch, error, words):
    made = error()

    def fail(*_, **__):
        raise made

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(UserError, match=words) as refused:
        References([]).source("org/name@v9")
    assert str(refused.value).startswith("model 'org/name@v9': ")
    assert "http" not in str(refused.value)


def test_offline_mode_is_named_by_the_real_library():
    assert constants.HF_HUB_OFFLINE
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE is set; unset it, or .*hf download org/n"):
        References([]).source("org/never-downloaded")


def test_other_errors_are_not_hidden(monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ZeroDivisionError):
        References([]).source("org/name")
