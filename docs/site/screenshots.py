"""Takes docs/images/console/*.webp: each page of the console over a simulated company, in Chromium.

It needs a Chromium (Debian's package chromium) and takes about three minutes. Run it when a page looks different. Rejected
records are those of a demo, since they are read from Kafka; the other pages offer what they do with a Kafka and ask it for nothing.

python docs/site/screenshots.py [--warehouse FILE [--rules FILE]] [NAME]...
"""

from __future__ import annotations

import argparse
import io
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from playwright.sync_api import sync_playwright

from cxstream.console import navigation
from cxstream.console.people import NOBODY, known_as
from cxstream.console.saved import SavedViews

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[1] / "images" / "console"
CXSTREAM = [sys.executable, "-m", "cxstream"]
WIDTH, HEIGHT, PHONE = 1280, 860, 390
OF_KAFKA, ENOUGH_REJECTED = "rejected", 8
NOBODY_THERE = "127.0.0.1:1"
QUALITY = 62
# Where the default view shows less than there is.
ADDRESSES = {
    "alerts": "?period=90d",
    "experiments": "?what=action&name=call_back&days=30",
    "campaigns": "?period=28d",
    "voice": "?period=28d",
    "service": "?period=28d",
    "find": "?q=a",
}
VIEWS = {
    "App, last four weeks": "/touchpoints?period=28d&where=channel%3Dapp",
    "Critical, longest waiting": "/queue?level=critical&sort=waiting",
    "Voice of gold customers": "/voice?period=28d&where=segment%3Dgold",
}
# Name, address, colours, language, width.
MORE = (
    ("customer", "", "light", "en-GB", WIDTH),
    ("touchpoints-dark", "/touchpoints?measure=change&period=28d", "dark", "en-GB", WIDTH),
    ("today-polish", "/today", "light", "pl-PL", WIDTH),
    ("queue-phone", "/queue", "dark", "en-GB", PHONE),
    ("palette", "/today", "light", "en-GB", WIDTH),
)


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warehouse", type=Path, help="Show this read model instead.")
    parser.add_argument("--rules", type=Path, help="Rules that the read model was made with.")
    parser.add_argument("names", nargs="*", help="Only these pictures, such as today.")
    arguments = parser.parse_args()
    given = arguments.warehouse
    with tempfile.TemporaryDirectory() as folder:
        path = given or simulated(Path(folder))
        save_views(path)
        with served(path, arguments.rules) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            FOLDER.mkdir(exist_ok=True)
            for name, place, scheme, locale, width in views(browser, address):
                if name == OF_KAFKA or (arguments.names and name not in arguments.names):
                    continue
                take(browser, FOLDER / f"{name}.webp", address + place, scheme, locale, width)
            if OF_KAFKA in (arguments.names or [OF_KAFKA]):
                take_of_demo(browser, FOLDER / f"{OF_KAFKA}.webp")
            browser.close()


def simulated(folder: Path) -> Path:
    """The read model of a company that is simulated."""
    events, path = folder / "events.ndjson.zst", folder / "company.duckdb"
    run("simulate", "--customers", "1500", "--days", "100", "--trouble", "2", "--out", events, "--quiet")
    run("replay", events, "--out", folder / "result", "--warehouse", path, "--quiet")
    return path


def save_views(path: Path) -> None:
    """Some saved views of who takes the pictures."""
    saved = SavedViews(path.with_name(f"{path.name}.views.json"))
    for name, address in VIEWS.items():
        saved.save(known_as(NOBODY), name, address, {address.partition("?")[0]})


def run(*words: object) -> None:
    """Run a command of cxstream."""
    subprocess.run([*CXSTREAM, *map(str, words)], check=True)  # noqa: S603 - of this program


@contextmanager
def served(path: Path, rules: Path | None) -> Iterator[str]:
    """The address of a console over a read model."""
    words = [*CXSTREAM, "serve", "--warehouse", str(path), "--port", "0", "--kafka", NOBODY_THERE]
    words += ["--rules", str(rules)] if rules else []
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:  # noqa: S603
        try:
            yield (server.stdout or io.StringIO()).readline().split()[-1].rstrip("/")
        finally:
            server.terminate()


def take_of_demo(browser: Any, path: Path) -> None:
    """Take a picture of the rejected records that a demo has after a while."""
    words = [*CXSTREAM, "demo", "--console", "--customers", "400", "--history", "10"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as demo:  # noqa: S603
        said = next(line for line in demo.stdout or () if line.startswith("console: "))
        # It says what it does all the time, and waits for somebody to read it.
        reading = threading.Thread(target=lambda: list(demo.stdout or ()))
        reading.start()
        try:
            _, address, _, name, _, password = said.replace(",", "").split()
            context = browser.new_context(
                viewport={"width": WIDTH, "height": HEIGHT},
                color_scheme="light",
                locale="en-GB",
                reduced_motion="reduce",
            )
            page = context.new_page()
            page.goto(f"{address}rejected")
            page.locator("input[name=name]").fill(name)
            page.locator("input[name=password]").fill(password)
            page.locator("form[action='/sign-in'] button").click()
            page.wait_for_url("**/rejected")
            rows = page.locator("table").last.locator("tbody tr")
            for _ in range(60):
                if rows.count() >= ENOUGH_REJECTED:
                    break
                page.wait_for_timeout(2000)
                page.reload()
            save(page, path)
            context.close()
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait()
            reading.join()


def views(browser: Any, address: str) -> list[tuple[str, str, str, str, int]]:
    """What is taken."""
    pages = [page for page in navigation.found().values() if "{" not in page.path]
    found = [(page.name, page.path + ADDRESSES.get(page.name, ""), "light", "en-GB", WIDTH) for page in pages]
    page = browser.new_page()
    page.goto(f"{address}/queue")
    customer = page.locator(".qrow a").first.get_attribute("data-page")
    page.close()
    more = [
        (name, place or str(customer), scheme, locale, width) for name, place, scheme, locale, width in MORE
    ]
    return [*found, *more]


def take(browser: Any, path: Path, address: str, scheme: str, locale: str, width: int) -> None:
    """Take a picture of what the window shows."""
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHT},
        color_scheme=scheme,
        locale=locale,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(address)
    if path.stem == "palette":
        page.keyboard.press("/")
        page.keyboard.type("cu")
        page.get_by_role("option").first.wait_for()
        page.get_by_role("option", name="Alerts").wait_for(state="detached")
    save(page, path)
    context.close()


def save(page: Any, path: Path) -> None:
    """Keep what the window shows."""
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").save(path, "WEBP", quality=QUALITY, method=6)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
