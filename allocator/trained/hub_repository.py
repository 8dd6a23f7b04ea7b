"""A model repository on the Hugging Face hub that an export is sent to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError

from allocator.errors import HubError
from allocator.hub import NETWORK_ERRORS, find_hub_problem, first_line

_PATIENCE = 5.0  # seconds in which the hub has to answer


@dataclass(frozen=True, kw_only=True, slots=True)
class HubRepository:
    """A repository that may not exist yet.

    Attributes:
        api: The hub, as the user who is logged in.
        id: Its id, with the name of its owner.
    """

    api: HfApi
    id: str

    def upload(self, files: Mapping[str, Path], *, is_private: bool) -> str:
        """Create the repository unless it exists, and add files to it in one commit.

        Args:
            files: The files by the names that they get; others of the repository are kept.
            is_private: Whether a new repository is private; one that exists stays what it is.

        Returns:
            The address of the repository.

        Raises:
            HubError: If the hub refuses, or breaks off.
        """
        added = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
        try:
            made = self.api.create_repo(self.id, private=is_private or None, exist_ok=True)
            self.api.create_commit(self.id, added, commit_message="Upload the result of a search")
        except (*NETWORK_ERRORS, RuntimeError) as problem:
            raise HubError(f"--push {self.id}: {_explain(problem)}") from None
        return str(made)


def find_repository(name: str) -> HubRepository:
    """Find out who is logged in, and so the whole id of a repository.

    Args:
        name: `USER/NAME`, or `NAME` alone for one of the user who is logged in.

    Raises:
        HubError: If the hub is out of reach, nobody is logged in, or the token is refused.
    """
    silence = find_hub_problem(_PATIENCE)
    if silence is not None:
        raise HubError(f"--push {name}: {silence}; run the same command again once it answers")
    token = huggingface_hub.get_token()
    if token is None:
        raise HubError(f"--push {name}: nobody is logged in; run `hf auth login`, or set HF_TOKEN")
    api = HfApi(endpoint=constants.ENDPOINT, token=token)
    try:
        user = api.whoami()["name"]
    except NETWORK_ERRORS as problem:
        raise HubError(f"--push {name}: {_explain(problem)}") from None
    return HubRepository(api=api, id=name if "/" in name else f"{user}/{name}")


def _explain(problem: BaseException) -> str:
    """Say in one line what the hub refused, and what to do about it."""
    if isinstance(problem, RuntimeError):  # of a large file; its cause is what the hub answered
        problem = problem.__cause__ or problem
    status = problem.response.status_code if isinstance(problem, HfHubHTTPError) else None
    if status == 401:
        return "the hub refuses the token; run `hf auth login`, or set HF_TOKEN to a valid one"
    if status in (403, 404):
        said = getattr(problem, "server_message", None)
        return (
            f"no permission to write there ({said or status}); name a repository of your own or of "
            "your organization, and use a token that may write"
        )
    return f"the hub failed ({first_line(problem)}); run the same command again"
