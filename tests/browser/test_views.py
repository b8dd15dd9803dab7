"""Show each view of the console in a browser, before a bridge that tells what the test wants."""

from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from playwright.async_api import expect

from bridge.core.model import CircuitState, ConnectionStatus
from bridge.core.payloads.views import Problem
from tests.support.console import scenario
from tests.support.console.browser import page_of, text_of, texts_of
from tests.support.console.scripted_console import now_ms, scripted_console
from tests.support.wait import until

pytestmark = pytest.mark.timeout(180)

#: Sends a browser that takes any of it for HTML or a script elsewhere, turns text around, and hides characters.
HOSTILE = (
    '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\'"&lt;'
    "javascript:window.hacked=1 \u202etxt\u202c\u0007\u200b"
)
SEEN = "\\u{202e}txt\\u{202c}\\u{7}\\u{200b}"


async def test_what_is_wrong_is_first(browser):
    """What is wrong is first, equal errors together; the title has their number; what is down is on top."""
    async with scripted_console() as bridge, page_of(browser) as page:
        await page.goto(bridge.url)
        await expect(page.locator(".banner h1")).to_have_text("10 of 31 integrations are not well, 1 is paused")
        problems = await texts_of(page, ".problems li")
        assert problems[0].startswith(
            "▲ disconnected: not_connected: connection refused for 12 min archive ledger loyalty"
        )
        assert problems[-1] == "◆ paused for 45 min partner"
        await expect(page).to_have_title("▲ 10 not well · plant-7")
        rows = await texts_of(page, ".integrations tbody tr")
        assert len(rows) == 31
        assert rows[0].startswith("tax http ▲ failed 3 h 7 min auth: 401: the token has expired")
        assert rows[3].startswith(
            "ledger json-rpc ▲ disconnected 12 min ▲ circuit open not_connected: connection refused"
        )
        figures = " ".join(await texts_of(page, ".figure"))
        for part in ("Operations 306 /s 6.2/s failed, 2.0 %", "2,777 waiting oldest 12 min", "341 /s in 655/s out"):
            assert part in figures
        # The lines of the picture have rates, what is down is on top.
        assert (await texts_of(page, ".side.out .group"))[0].startswith(
            "ledger ▲ circuit open order.paid → request durable 2.2/s"
        )
        assert "plant/7/+/state → machine.state 180/s" in await text_of(page, ".side.in .groups")
        # What only commands ask of an integration is there, too, also where it brings messages.
        await page.locator("nav").get_by_role("link", name="Flows").click()
        await expect(page.locator(".side.out .group", has_text="floor")).to_contain_text("commands")


async def test_search_filter_and_sort(browser):
    """Search, filters and columns leave and order what fits; a column chosen thrice gives the first order back."""
    async with scripted_console() as bridge, page_of(browser) as page:
        await page.goto(bridge.url)

        async def names() -> list[str]:
            await page.evaluate("() => new Promise((done) => requestAnimationFrame(done))")  # what is due is drawn then
            return await texts_of(page, ".integrations tbody th a")

        await page.locator("#search").fill("connect within")
        assert await names() == ["gates", "sensors"]
        await page.locator("#search").fill("")
        await page.get_by_role("button", name="Waiting 5").click()
        assert await names() == ["archive", "ledger", "loyalty", "payments", "carrier"]
        await page.get_by_role("button", name="All 31").click()
        await page.get_by_label("Type", exact=True).select_option("mqtt")
        assert await names() == ["gates", "sensors", "floor", "scales"]
        messages = page.locator("th .sort", has_text="messages/s")
        await messages.click()
        assert (await names())[:2] == ["floor", "scales"]
        assert await page.locator("th[aria-sort=ascending]").count() == 1
        await messages.click()
        assert (await names())[-1] == "floor"
        await messages.click()
        assert (await names())[0] == "gates"
        await page.locator("#search").fill("nothing like this")
        await expect(page.locator("#main")).to_contain_text("No integration fits.")


async def test_an_outage_ends_in_place(browser):
    """A frame with the changes only changes these rows and the order; the focus stays; then all is well."""
    async with scripted_console() as bridge, page_of(browser) as page:
        await page.goto(bridge.url)
        await page.get_by_role("link", name="prices").focus()
        data = scenario.overview(now_ms())
        well = [
            msgspec.structs.replace(
                row, status=ConnectionStatus.CONNECTED, circuit=CircuitState.CLOSED, error=None, dead_letters=0
            )
            for row in data.integrations[:11]
        ]
        order = [row.integration for row in data.integrations[11:]] + [row.integration for row in well]
        changed = msgspec.to_builtins(
            msgspec.structs.replace(data, integrations=well, problems=[], routes=[], subscriptions=[])
        )
        await bridge.send({"type": "overview", "full": False, "data": changed, "order": order})
        await expect(page.locator(".banner h1")).to_have_text("All 31 integrations are well")
        await expect(page).to_have_title("● plant-7")
        names = await texts_of(page, ".integrations tbody th a")
        assert (names[0], names[-1], len(names)) == ("cache", "partner", 31)
        assert await page.evaluate("document.activeElement.textContent") == "prices"
        assert (await texts_of(page, ".side.out .group"))[0].startswith("events ● connected")


async def test_all_of_an_integration(browser):
    """The view of an integration has failures with every attempt, the circuit, durations, dead letters and settings."""
    async with scripted_console() as bridge, page_of(browser) as page:
        await page.goto(bridge.url)
        await page.locator(".integrations").get_by_role("link", name="ledger").click()
        await expect(page.locator("h1")).to_have_text("ledger json-rpc")
        main = page.locator("#main")
        await expect(main).to_contain_text("disconnected for 12 min, before that connected ▲ circuit open")
        await expect(main).to_contain_text("credentials are sent in the clear: use https")
        await page.get_by_role("button", name="Show 40 more").click()
        failures = page.locator("section", has=page.locator("h2", has_text="Failures")).locator(".failure")
        await expect(failures).to_have_count(50)
        await failures.nth(3).locator("> summary").click()
        attempts = await texts_of(page, ".failure[open] tbody tr")
        assert len(attempts) == 4
        assert attempts[1].startswith("2 + 26")
        assert attempts[1].endswith("not_connected: connection refused")
        opened = await text_of(page, ".failure[open]")
        assert "caused by refund.wanted from checkout, number 88117" in opened
        assert await page.locator(".band").get_attribute("aria-label") == "21 changes in 15 min; now open"
        assert "10 ms" in await text_of(page, ".histogram")
        assert "to_ledger order.paid request durable" in " ".join(await texts_of(page, "tbody tr"))
        assert "corrections ledger.corrections ledger.corrected ▲ disconnected back_office" in " ".join(
            await texts_of(page, "tbody tr")
        )
        letters = page.locator(".letter")
        await expect(letters).to_have_count(3)
        await letters.nth(2).locator("> details > summary").click()
        await expect(letters.nth(2)).to_contain_text("The remote may have acted on it")
        await expect(letters.nth(2)).to_contain_text("A-17")
        await expect(page.locator(".v-secret")).to_have_text("secret")
        assert bridge.views[-1] == {"view": "integration", "integration": "ledger"}


async def test_an_unknown_integration(browser):
    """The address of an integration that is not there shows what the bridge says, and leads back."""
    async with scripted_console() as bridge, page_of(browser) as page:
        bridge.inspection = lambda *_: None
        await page.goto(f"{bridge.url}#/integration/no%2Fsuch")
        await expect(page.locator("#main")).to_contain_text("there is no integration 'no/such'")
        await page.get_by_role("link", name="all integrations").click()
        await expect(page.locator(".banner")).to_be_visible()


async def test_the_tap(browser):
    """Patterns go to the bridge; a pause keeps what comes; a payload is a tree; what was not shown is told."""
    async with scripted_console() as bridge, page_of(browser) as page:
        bridge.events = scenario.story(now_ms())
        await page.goto(f"{bridge.url}#/tap")
        await expect(page.locator(".event")).to_have_count(12)
        assert bridge.views[-1] == {"view": "tap", "patterns": ["**"], "correlation_id": None}
        await page.locator(".event", has_text="order.paid").first.locator(".head").click()
        assert "items: [ 2 ]" in await text_of(page, ".event .inside")
        await page.locator(".tree .tree .tree > summary").first.click()
        assert "article: “A-17”" in await text_of(page, ".event .inside")
        await page.get_by_role("button", name="Pause").click()
        more = [
            scenario.event(now_ms(), 1, "late.one", {"a": 1}),
            scenario.event(now_ms(), 2, "late.two", "abc", cut=True, bytes=95_000),
        ]
        await bridge.send({"type": "tap", "events": more, "skipped": 412})
        await expect(page.locator("#pause")).to_have_text("Go on (2 new events)")
        await expect(page.locator(".event")).to_have_count(12)
        await page.keyboard.press("p")
        await expect(page.locator(".event")).to_have_count(14)
        await expect(page.locator("#main")).to_contain_text("412 more were not shown")
        await page.locator(".event", has_text="late.two").locator(".head").click()
        await expect(page.locator("#main")).to_contain_text("The beginning of 92.8 KiB:")
        refused = scenario.event(now_ms(), 3, "response.order.paid", {"ok": False, "error": {"kind": "timeout"}})
        await bridge.send({"type": "tap", "events": [refused], "skipped": 0})
        await expect(page.locator(".event.not-ok")).to_have_count(1)
        await page.locator("#patterns").fill("order.* resilience.**")
        await page.keyboard.press("Enter")
        await until(lambda: bridge.views[-1]["patterns"] == ["order.*", "resilience.**"])


async def test_a_bridge_that_shows_no_events(browser):
    """Where the configuration turns the tap off there is no link to it, and its address shows why."""
    async with scripted_console() as bridge, page_of(browser) as page:
        bridge.tap = False
        await page.goto(f"{bridge.url}#/tap")
        await expect(page.locator("#main")).to_contain_text("events are not shown here")
        assert await texts_of(page, "nav a") == ["Overview", "Flows"]


async def test_following_one_correlation_id(browser):
    """What belongs to one correlation id is shown from its first event on, also what came before it was followed."""
    async with scripted_console() as bridge, page_of(browser) as page:
        bridge.events = scenario.story(now_ms())
        await page.goto(f"{bridge.url}#/tap")
        await expect(page.locator(".event")).to_have_count(12)
        bridge.events = []
        await page.get_by_role("link", name="follow order-7101").first.click()
        await expect(page.locator(".event .kind")).to_have_text(
            [
                "order.paid",
                "resilience.shop.retry",
                "resilience.shop.retry",
                "response.order.paid",
                "order.booked",
                "receipt.shop.delivered",
            ]
        )
        assert (await texts_of(page, ".event time"))[1:4] == ["+ 419 ms", "+ 1.1 s", "+ 1.7 s"]
        assert bridge.views[-1] == {"view": "tap", "patterns": ["**"], "correlation_id": "order-7101"}
        await expect(page.locator(".follow")).to_contain_text("6 events in 1.7 s")
        await page.get_by_role("link", name="show all again").click()
        await until(lambda: bridge.views[-1]["correlation_id"] is None)


async def test_without_actions_nothing_can_be_done(browser):
    """Where actions are off there is no button for one."""
    async with scripted_console() as bridge, page_of(browser) as page:
        await page.goto(f"{bridge.url}#/integration/ledger")
        await expect(page.locator("h1")).to_be_visible()
        assert await page.locator(".actions button, .letter input, #bar button").all_inner_texts() == ["?"]


async def test_actions(browser):
    """An action asks for the token, and first for a yes where it stops something; a refusal forgets the token."""
    async with scripted_console() as bridge, page_of(browser) as page:
        bridge.actions = True
        bridge.results["pause"] = {"ok": False, "error": {"kind": "auth", "message": "the token is wrong"}}
        bridge.results["discard"] = {"ok": True, "result": {"moved": 2}}
        await page.goto(f"{bridge.url}#/integration/ledger")
        dialog = page.locator("dialog")
        await page.get_by_role("button", name="Pause…").click()
        await dialog.get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Pause…").click()
        await dialog.get_by_role("button", name="Pause").click()
        await page.locator("#token").fill("not the token at all")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("Refused: the token is wrong")
        assert bridge.acted == [
            {"action": {"id": 1, "do": "pause", "integration": "ledger"}, "token": "not the token at all"}
        ]
        for number in (0, 2):
            await page.locator(".letter input").nth(number).check()
        await page.get_by_role("button", name="Discard 2…").click()
        await expect(dialog).to_contain_text("This cannot be undone.")
        await dialog.get_by_role("button", name="Discard").click()
        await page.locator("#token").fill("the right token of the console")
        await page.keyboard.press("Enter")
        await expect(page.locator("#told")).to_contain_text("2 dead letters discarded.")
        assert bridge.acted[-1]["action"] == {"id": 2, "do": "discard", "integration": "ledger", "ids": ["17", "19"]}
        await page.get_by_role("button", name="Reset circuit").click()
        await expect(page.locator("#told")).to_contain_text("The circuit of ledger is closed.")
        assert bridge.acted[-1]["token"] == "the right token of the console"


async def test_reload_shows_its_plan_first(browser):
    """Reload shows what would change and what it strands; only then it is applied, and only if the person says so."""
    nothing: dict[str, Any] = {"added": [], "removed": [], "changed": {}}
    plan = {
        "added": ["new"],
        "changed": ["shop"],
        "removed": ["old"],
        "unchanged": [],
        "integrations": {
            "added": ["new"],
            "removed": ["old"],
            "changed": {"shop": {"resilience.timeout": ["2s", "5s"], "auth.token": ["***", "***"]}},
        },
        "routes": nothing,
        "subscriptions": nothing,
        "fabrics": nothing | {"added": ["plant"]},
        "needs_restart": ["log"],
        "settings": {"log": {"level": ["info", "debug"]}},
        "stranded": {"old": 12},
    }
    async with scripted_console() as bridge, page_of(browser) as page:
        bridge.actions = True
        bridge.results["reload"] = {"ok": True, "result": plan}
        await page.goto(bridge.url)
        await page.get_by_role("button", name="Token…").click()
        await page.locator("#token").fill("the right token of the console")
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="Reload…").click()
        shown = await text_of(page, "dialog .body")
        for part in (
            "+ integration new",
            "+ fabric plant",
            "\N{MINUS SIGN} integration old",
            "resilience.timeout: 2s → 5s",
            "auth.token: changed; it is a secret",
            "Only at the next start: log.",
            "level: info → debug",
            "old 12",
        ):
            assert part in shown
        await page.get_by_role("button", name="Cancel").click()
        await page.get_by_role("button", name="Reload…").click()
        await page.get_by_role("button", name="Apply").click()
        await expect(page.locator("#told")).to_contain_text(
            "Reloaded: 1 integration added, 1 integration changed, 1 integration removed."
        )
        assert [one["action"].get("dry_run") for one in bridge.acted] == [True, True, None]


async def test_no_answer_is_told(browser):
    """When the bridge is gone the page says so and since when; when it is back, it asks for the same view again."""
    async with scripted_console() as bridge, page_of(browser) as page:
        await page.goto(f"{bridge.url}#/tap?patterns=order.*")
        await until(lambda: bridge.views)
        asked = bridge.views[-1]
        bridge.views.clear()
        bridge.refuse = True
        await bridge.cut()
        await expect(page.get_by_role("alert")).to_contain_text("No answer from the bridge since")
        await expect(page).to_have_title("▲ no answer · plant-7")
        bridge.refuse = False
        await until(lambda: asked in bridge.views)
        await expect(page.get_by_role("alert")).to_have_count(0)


async def test_what_others_wrote_is_text(browser):
    """Markup in any field of a remote, a program or a file adds no element; what cannot be seen is written out."""
    tags = "[...document.querySelectorAll('#main *, #bar *')].map((one) => one.localName).sort().join()"
    # Each view, and the events in it; what is followed is known from the tap, and told once more.
    views = {"#/": 0, "#/flows": 0, "#/integration/{}": 0, "#/tap": 2, "#/tap?follow={}": 4}
    frame = "() => new Promise((done) => requestAnimationFrame(done))"
    found: dict[str, list[str]] = {}
    async with scripted_console() as bridge, page_of(browser) as page:
        for text in ("calm", HOSTILE):
            at = now_ms() - 5000
            seen, inspected = scenario.hostile(at, text)
            bridge.name = text
            bridge.overview = lambda _, seen=seen: seen
            bridge.inspection = lambda _, __, inspected=inspected: inspected
            said = {"source": text, "correlation_id": text, "headers": {text: text}}
            bridge.events = [
                scenario.event(at, 1, text, {text: [text]}, **said),
                scenario.event(at, 2, text, text, cut=True, **said),
            ]
            found[text] = []
            await page.goto("about:blank")
            await page.goto(bridge.url)
            for view, events in views.items():
                await page.evaluate("(hash) => (location.hash = hash)", view.format(quote(text, safe="")))
                await expect(page.locator("#main h1")).to_be_visible()
                await page.evaluate(frame)
                await expect(page.locator("#main .waiting")).to_have_count(0)
                await expect(page.locator(".event")).to_have_count(events)
                await page.evaluate("() => document.querySelectorAll('details').forEach((one) => (one.open = true))")
                for head in await page.locator(".event .head").all():
                    await head.click()
                await page.evaluate(frame)
                found[text].append(await page.evaluate(tags))
                assert text == "calm" or SEEN in await page.locator("body").inner_text()
                assert await page.evaluate("window.hacked") is None
            await bridge.send({"type": "error", "message": f"{text} is what the bridge says"})
            await expect(page.locator("#main")).to_contain_text("is what the bridge says")
            assert await page.evaluate("window.hacked") is None
    assert found[HOSTILE] == found["calm"]


async def test_a_thousand_integrations(browser):
    """A thousand integrations are a bounded page; a frame that changes one row changes hardly anything else."""
    async with scripted_console() as bridge, page_of(browser) as page:
        bridge.overview = lambda at: scenario.large(at, 1000)
        await page.goto(bridge.url)
        await expect(page.locator(".banner h1")).to_have_text("10 of 1,000 integrations are not well")
        assert await texts_of(page, ".names") == [
            "remote-0000 remote-0100 remote-0200 remote-0300 remote-0400 remote-0500 and 4 more"
        ]
        await page.get_by_role("button", name="Show 200 more of 950").click()
        await expect(page.locator(".integrations tbody tr")).to_have_count(250)
        assert await page.evaluate("document.querySelectorAll('*').length") < 12_000
        await page.evaluate(
            "window.changes = 0; new MutationObserver((all) => (window.changes += all.length))"
            ".observe(document.querySelector('.integrations'),"
            " {subtree: true, childList: true, characterData: true, attributes: true})"
        )
        data = scenario.large(now_ms(), 1000)
        one = msgspec.structs.replace(data.integrations[12], in_flight=77)
        frame = msgspec.to_builtins(msgspec.structs.replace(data, integrations=[one], routes=[], subscriptions=[]))
        await bridge.send({"type": "overview", "full": False, "data": frame})
        await expect(page.locator(".integrations")).to_contain_text("77")
        # One number, and at most the tick of each chart that began a new step meanwhile.
        assert await page.evaluate("window.changes") < 600
        await page.locator("#search").fill("remote-0999")
        await expect(page.locator(".integrations tbody tr")).to_have_count(1)


async def test_a_problem_of_the_bridge_itself(browser):
    """Where all integrations are well and the bridge is not, the banner does not say that all is well."""
    async with scripted_console() as bridge, page_of(browser) as page:
        calm = scenario.overview(now_ms())
        rows = calm.integrations[11:]
        problem = Problem(
            "outbox", "error", "the outbox accepts nothing: No space left on device", calm.at - 90_000, []
        )
        bridge.overview = lambda _: msgspec.structs.replace(calm, integrations=rows, problems=[problem])
        await page.goto(bridge.url)
        await expect(page.locator(".banner h1")).to_have_text("All 20 integrations are well, but the bridge is not")
        assert await texts_of(page, ".problems li") == [
            "▲ the outbox accepts nothing: No space left on device for 1 min"
        ]
        many = [msgspec.structs.replace(problem, text=f"trouble {number}") for number in range(20)]
        data = msgspec.to_builtins(msgspec.structs.replace(calm, integrations=rows, problems=many))
        await bridge.send({"type": "overview", "full": True, "data": data})
        await page.get_by_role("button", name="and 12 more problems").click()
        await expect(page.locator(".problems li")).to_have_count(20)
