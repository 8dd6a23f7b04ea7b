"""Check whether the Hugging Face hub can be reached."""

from __future__ import annotations

import threading

import datasets
import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # httpx's or httpx2's

# ValueError and ImportError are what a wrong proxy or endpoint setting raises.
NETWORK_ERRORS = (HTTPError, OSError, ValueError, ImportError)


def find_hub_problem(patience: float) -> str | None:
    """Find out why the hub cannot be reached.

    Args:
        patience: Seconds to wait for an answer.

    Returns:
        The reason in one line, or None if the hub answers.
    """
    if constants.HF_HUB_OFFLINE or datasets.config.HF_HUB_OFFLINE:
        return "offline mode is set (HF_HUB_OFFLINE)"
    # In a separate thread, because no timeout of the HTTP client covers a name server that does
    # not answer.
    answers: list[str | None] = []
    # A daemon, so that a look-up that hangs does not keep the process alive.
    probe = threading.Thread(target=lambda: answers.append(_ask_hub(patience)), daemon=True)
    probe.start()
    probe.join(patience)
    return answers[0] if answers else f"no answer from {constants.ENDPOINT} in {patience:g} s"


def _ask_hub(timeout: float) -> str | None:
    try:
        response = huggingface_hub.get_session().head(constants.ENDPOINT, timeout=timeout)
    except NETWORK_ERRORS as error:
        return f"{constants.ENDPOINT} is out of reach ({first_line(error)})"
    # Mirrors may refuse a HEAD request, but a status below 500 shows that the server works.
    if response.status_code >= 500:
        return f"{constants.ENDPOINT} answers {response.status_code}"
    return None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
