"""Show the console of a running sidecar: an outage that is watched, actions, and text of a hostile remote."""

import json
from contextlib import ExitStack

import pytest
from playwright.async_api import Page, expect

from tests.support.console.browser import page_of
from tests.support.servers.demo import demo_service
from tests.support.servers.remote import free_port, remote
from tests.support.sidecar.sidecar import json_rpc, sidecar

pytestmark = pytest.mark.timeout(180)

TOKEN = "a token that nobody guesses"
ACTIONS = 'status = "127.0.0.1:0"\n  console {\n    actions = true\n    token = env.CONSOLE_TOKEN\n  }'
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


async def give_token(page: Page, token: str) -> None:
    """Type the token where the page asks for it."""
    await page.locator("#token").fill(token)
    await page.keyboard.press("Enter")


async def test_an_outage_watched_live(browser):
    """A remote goes and comes back while the page is open: banner, row, failure with its attempts, and all is well."""
    port = free_port()
    block = json_rpc("shop", f"http://127.0.0.1:{port}/rpc", attempts=3, health='interval = "200ms"')
    with remote() as other, ExitStack() as service:
        service.enter_context(demo_service(port=port))
        with sidecar(block + json_rpc("stock", other.url), more='status = "127.0.0.1:0"') as running:
            async with page_of(browser) as page:
                with running.program() as program:
                    await page.goto(running.page)
                    banner = page.locator(".banner h1")
                    await expect(banner).to_have_text("All 2 integrations are well")
                    service.close()
                    await expect(banner).to_have_text("1 of 2 integrations is not well")
                    await expect(page.locator(".problems")).to_contain_text("not_connected")
                    await expect(page.locator(".integrations tbody tr").first).to_contain_text("▲ disconnected")
                    await program.request("shop", "echo", [1])
                    await page.locator(".integrations").get_by_role("link", name="shop").click()
                    await page.locator(".failure summary").first.click()
                    await expect(page.locator(".failure[open] tbody tr")).to_have_count(3)
                    await page.get_by_role("link", name="all integrations").click()
                    service.enter_context(demo_service(port=port))
                    await expect(banner).to_have_text("All 2 integrations are well")


async def test_actions_reach_the_bridge(browser):
    """An action with the token is done and told on the bus; one with a wrong token is refused, and told, too."""
    with (
        remote() as shop,
        sidecar(json_rpc("shop", shop.url), more=ACTIONS, environ={"CONSOLE_TOKEN": TOKEN}) as running,
        running.program() as program,
    ):
        async with page_of(browser) as page:
            await page.goto(f"{running.page}#/integration/shop")
            await page.get_by_role("button", name="Pause…").click()
            await page.locator("dialog").get_by_role("button", name="Pause").click()
            await give_token(page, "a token that is wrong")
            await expect(page.get_by_role("alert")).to_contain_text("Refused: the token is wrong")
            refused = await program.wait("resilience.bridge.console_action")
            assert (refused["payload"]["action"], refused["payload"]["ok"]) == ("pause", False)
            await page.get_by_role("button", name="Token…").click()
            await give_token(page, TOKEN)
            await page.get_by_role("button", name="Pause…").click()
            await page.locator("dialog").get_by_role("button", name="Pause").click()
            await expect(page.locator(".states")).to_contain_text("■ paused")
            done = await program.wait("resilience.bridge.console_action", lambda event: event["payload"]["ok"])
            assert done["payload"]["integration"] == "shop"
            await page.get_by_role("button", name="Resume").click()
            await expect(page.locator(".states")).to_contain_text("● connected")
            running.file.write_text(running.file.read_text().replace('"400ms"', '"500ms"'))
            await page.get_by_role("button", name="Reload…").click()
            await expect(page.locator("dialog")).to_contain_text("resilience.timeout: 400ms → 500ms")
            await page.get_by_role("button", name="Apply").click()
            await expect(page.locator("#told")).to_contain_text("Reloaded: 1 integration changed.")
            await expect(page.locator("#main .card")).to_contain_text("500ms")
        assert TOKEN not in running.text
        assert TOKEN not in json.dumps(program.log)


async def test_what_a_hostile_remote_and_program_send_is_text(browser):
    """Markup of a remote's error and in a program's events is shown as text, and does nothing."""
    error = json.dumps({"code": 7, "message": HOSTILE})
    with (
        remote() as shop,
        sidecar(json_rpc("shop", shop.url), more='status = "127.0.0.1:0"') as running,
        running.program() as program,
    ):
        async with page_of(browser) as page:
            await page.goto(f"{running.page}#/tap")
            event = page.locator(".event", has_text="<img/src=x>").first
            while not await event.is_visible():  # the bridge taps the bus only once the browser has asked for it
                program.emit("x.<img/src=x>", {HOSTILE: HOSTILE}, HOSTILE, source=HOSTILE)
            await event.locator(".head").click()
            await expect(event.locator(".tree")).to_contain_text(HOSTILE)
            await program.request("shop", "raw", ["error", error])
            await page.goto(f"{running.page}#/integration/shop")
            await expect(page.locator(".failure").first).to_contain_text(HOSTILE)
            assert await page.evaluate("window.hacked") is None
            assert await page.locator("#main img, #main script").count() == 0
