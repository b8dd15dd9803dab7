"""Show that the console can be used on a narrow screen, in the dark, by keyboard and with a screen reader."""

import itertools

import pytest
from playwright.async_api import Page, expect

from tests.support.console import scenario
from tests.support.console.browser import layout_faults, page_of
from tests.support.console.scripted_console import now_ms, scripted_console

pytestmark = pytest.mark.timeout(180)

VIEWS = ("#/", "#/flows", "#/integration/ledger", "#/tap", "#/tap?follow=order-7101")


async def show(page: Page, view: str) -> None:
    """Go to a view, and wait until it is there."""
    await page.evaluate("(hash) => (location.hash = hash)", view)
    await expect(page.locator("#main h1")).to_be_visible()
    await expect(page.locator("#main .waiting")).to_have_count(0)


async def test_nothing_is_cut_and_all_text_has_contrast(browser):
    """At 400 and 1280 pixels, in light and dark, nothing is wider than the window, and contrast is 4.5 at least."""
    async with scripted_console() as bridge, page_of(browser) as page:
        bridge.actions = True
        bridge.events = scenario.story(now_ms())
        await page.goto(bridge.url)
        for view in VIEWS:
            await show(page, view)
            await page.evaluate("() => document.querySelectorAll('details').forEach((one) => (one.open = true))")
            for head in (await page.locator(".event .head").all())[:3]:
                await head.click()
            for width in (1280, 400):
                await page.set_viewport_size({"width": width, "height": 900})
                for scheme in ("light", "dark"):
                    await page.emulate_media(color_scheme=scheme)
                    assert await layout_faults(page) == [], (view, width, scheme)


async def test_by_keyboard(browser):
    """All can be reached and done without a pointer, and the focus is where a person expects it."""
    async with scripted_console() as bridge, page_of(browser) as page:
        bridge.events = scenario.story(now_ms())
        focus = lambda: page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")  # noqa: E731
        await page.goto(bridge.url)
        await expect(page.locator(".banner")).to_be_visible()
        await page.keyboard.press("Tab")
        assert await focus() == "skip"
        await page.keyboard.press("Enter")
        assert await focus() == "main"
        await page.keyboard.press("/")
        assert await focus() == "search"
        await page.keyboard.type("ma/ps?1")  # keys have no meaning of their own while a person types
        assert await page.locator("#search").input_value() == "ma/ps?1"
        await page.locator("#search").fill("")
        await page.get_by_role("link", name="shop").first.focus()
        await page.keyboard.press("ArrowDown")
        assert await focus() == "stock"
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("stock json-rpc")
        assert await focus() == "main"
        await page.keyboard.press("3")
        await expect(page.locator("h1")).to_have_text("Tap")
        await page.keyboard.press("p")
        await expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")
        await page.get_by_role("button", name="Help").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("dialog")).to_be_visible()
        await page.get_by_label("single keys work").uncheck()
        await page.keyboard.press("Escape")
        await expect(page.locator("dialog")).to_be_hidden()
        assert await focus() == "?"
        await page.keyboard.press("1")
        await expect(page.locator("h1")).to_have_text("Tap")


async def test_with_a_screen_reader(browser):
    """Every control has a name, each page one first heading and no level left out, and pictures say what they show."""
    async with scripted_console() as bridge, page_of(browser, width=400) as page:
        bridge.actions = True
        bridge.events = scenario.story(now_ms())
        session = await page.context.new_cdp_session(page)
        await page.goto(bridge.url)
        for view in VIEWS:
            await show(page, view)
            levels = await page.evaluate(
                "[...document.querySelectorAll('#main :is(h1,h2,h3)')].map((one) => +one.localName[1])"
            )
            assert levels[0] == 1
            assert levels.count(1) == 1
            assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
            nodes = (await session.send("Accessibility.getFullAXTree"))["nodes"]
            nodes = [node for node in nodes if not node["ignored"]]
            controls = {
                "button",
                "link",
                "textbox",
                "searchbox",
                "checkbox",
                "combobox",
                "image",
                "table",
                "region",
                "navigation",
            }
            nameless = [
                node["role"]["value"]
                for node in nodes
                if node["role"]["value"] in controls and not node.get("name", {}).get("value", "").strip()
            ]
            assert nameless == []
            roles = [node["role"]["value"] for node in nodes]
            assert {"banner", "main", "navigation"} <= set(roles)
            if view == "#/":
                # Narrow rows are no table for the eye, but still one for the ear.
                assert roles.count("rowheader") == 31
                assert roles.count("columnheader") in {0, 12}
