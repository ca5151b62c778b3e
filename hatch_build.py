"""Makes the README, and the project's links, fit for a package index when a distribution is built.

A package index shows the README alone, so links to other files of the repository lead nowhere there. With
`PROJECT_URL` set to the address of the repository on a Git host, they become links to that address, and the metadata get
the project's links. Without it the text of such links stays and pictures of the repository are left out.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|#", re.IGNORECASE)
_CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
# Where GitHub and GitLab have a file as a page, and as it is.
_PAGE, _RAW = "/blob/{ref}/", "/raw/{ref}/"


def readme_for_index(text: str, url: str, ref: str) -> str:
    """The README with links that work outside the repository.

    Args:
        text: the README.
        url: address of the repository on a Git host; "" if there is none.
        ref: tag or branch to link to.
    """

    def outside(found: re.Match[str]) -> str:
        target = found["target"]
        if _ELSEWHERE.match(target):
            return found[0]
        if not url:
            return "" if found["picture"] else found["text"]
        place = (_RAW if found["picture"] else _PAGE).format(ref=ref)
        return f"{found['picture']}[{found['text']}]({url}{place}{target})"

    parts, end = [], 0
    for code in _CODE.finditer(text):
        if "](" in text[code.end() : code.end() + 2]:
            continue  # code that is the text of a link: [`x`](y)
        parts += [_LINK.sub(outside, text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, _LINK.sub(outside, text[end:])])


def project_urls(url: str, ref: str) -> dict[str, str]:
    """The project's links in the metadata; none without an address."""
    if not url:
        return {}
    return {
        "Homepage": url,
        "Documentation": f"{url}{_PAGE.format(ref=ref)}docs/README.md",
        "Changelog": f"{url}{_PAGE.format(ref=ref)}CHANGELOG.md",
    }


class ReadmeHook(MetadataHookInterface):
    """Fills in what pyproject.toml calls dynamic: `readme` and `urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set both.

        Raises:
            ValueError: PROJECT_URL is no web address.
        """
        url = os.environ.get("PROJECT_URL", "").rstrip("/")
        if url and not re.fullmatch(r"https?://[^\s?#]+", url):
            raise ValueError(
                f"PROJECT_URL: {url!r} is no web address such as https://git.example.org/team/cxstream"
            )
        ref = f"v{metadata['version']}"
        text = (Path(self.root) / "README.md").read_text("utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": readme_for_index(text, url, ref)}
        metadata["urls"] = project_urls(url, ref)
