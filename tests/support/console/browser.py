"""Drive Debian's Chromium, without a window."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Page, async_playwright, expect

from tests.support.wait import PATIENCE

#: Names under which systems have it.
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


#: Seconds for the start: a browser that is not in memory yet is read from the disk, beside all other tests.
_START = 120.0


def find_chromium() -> str | None:
    """Return the path of the browser; None where there is none."""
    return next((found for name in _PROGRAMS if (found := shutil.which(name))), None)


expect.set_options(timeout=PATIENCE * 1000)


@asynccontextmanager
async def chromium(program: str) -> AsyncIterator[Browser]:
    """Run the browser."""
    options = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=options, timeout=_START * 1000)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def page_of(browser: Browser, *, width: int = 1280, height: int = 900, dark: bool = False) -> AsyncIterator[Page]:
    """Open a page of a browser; any error that it reports, also of its content policy, fails the test."""
    page = await browser.new_page(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
    )
    page.set_default_timeout(PATIENCE * 1000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    try:
        yield page
    finally:
        await page.close()
    # A connection that the test has cut is no error of the page.
    assert not [error for error in errors if "WebSocket connection" not in error]


async def text_of(page: Page, selector: str) -> str:
    """Return the text of the first element that fits, in one line."""
    return " ".join((await page.locator(selector).first.inner_text()).split())


async def texts_of(page: Page, selector: str) -> list[str]:
    """Return the text of each element that fits, in one line each."""
    return [" ".join(text.split()) for text in await page.locator(selector).all_inner_texts()]


async def layout_faults(page: Page) -> list[Any]:
    """Return what sticks out of the window, and all text whose contrast is below WCAG's 4.5."""
    return await page.evaluate(_FAULTS)


_FAULTS = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((one) => one / 255)
    .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const found = numbers(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const faults = [];
  for (const node of document.querySelectorAll("body *")) {
    const box = node.getBoundingClientRect();
    if (!box.width || node.closest(".sr, .skip, dialog:not([open])")) continue;
    const wide = box.right > innerWidth + 1 && !node.closest(".scroll, .card, .head");
    if (wide) faults.push(["too wide", node.outerHTML.slice(0, 80)]);
    if (![...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim())) continue;
    const [a, b] = [light(numbers(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) faults.push(["contrast", contrast.toFixed(2), node.outerHTML.slice(0, 80)]);
  }
  return faults.slice(0, 20);
}"""
