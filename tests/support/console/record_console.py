"""Take pictures of the console before a scripted bridge; scripts/record-console runs it."""

import asyncio
import sys
from pathlib import Path

from playwright.async_api import Page

from bridge.core.payloads import Fleet
from tests.support.console import scenario
from tests.support.console.browser import chromium, find_chromium
from tests.support.console.fleet import fabric
from tests.support.console.scripted_console import now_ms, scripted_console


async def as_it_is(_: Page) -> None:
    """Change nothing."""


async def failure(page: Page) -> None:
    """Open the last failure."""
    await page.locator("#main .failure summary").first.click()


async def payload(page: Page) -> None:
    """Open the payload of the order."""
    await page.locator(".event", has_text="order.paid").first.locator(".head").click()
    await page.locator(".tree .tree .tree > summary").first.click()


#: Only a bridge in a fabric has this view, and its name in the bar.
FLEET = "#/fleet"
#: File, view, width and height in CSS pixels, pixels for each of these, and what is done before the picture.
PICTURES = (
    ("console-overview.png", "#/", 1280, 1160, 1, as_it_is),
    ("console-integration.png", "#/integration/ledger", 1280, 1160, 1, failure),
    ("console-tap.png", "#/tap", 1280, 700, 1, payload),
    ("console-fleet.png", FLEET, 1280, 700, 1, as_it_is),
    ("console-400.png", "#/", 400, 1250, 2, as_it_is),
)


async def main(directory: Path) -> None:
    """Take all pictures."""
    program = find_chromium()
    assert program is not None
    async with scripted_console() as bridge, chromium(program) as browser:
        # The last step of each chart is nearly over, whenever the pictures are taken.
        bridge.overview = lambda at: scenario.overview(at - at % scenario.STEP_MS + 12_000)
        bridge.actions = True
        bridge.events = scenario.story(now_ms() - 4000)
        for name, view, width, height, scale, prepare in PICTURES:
            nodes = 6 if view == FLEET else 0
            bridge.fleet = lambda at, nodes=nodes: Fleet(fabrics={"plant": fabric(at, nodes)} if nodes else {})
            page = await browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
            await page.goto(bridge.url + view)
            await page.locator("#main h1").wait_for()
            await page.locator("#main .waiting").wait_for(state="detached")
            await prepare(page)
            await page.mouse.move(0, 0)
            await page.screenshot(path=directory / name)
            await page.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
