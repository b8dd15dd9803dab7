"""Show the fleet in a browser, before a bridge that tells what the test wants."""

from typing import Any

import msgspec
import pytest
from playwright.async_api import expect

from bridge.core.payloads import FabricView, Fleet
from tests.support.console.browser import layout_faults, page_of, text_of, texts_of
from tests.support.console.fleet import fabric, fleet, overview
from tests.support.console.scripted_console import now_ms, scripted_console

pytestmark = pytest.mark.timeout(180)

HOSTILE = '<img src=x onerror="window.hacked=1">\u202etxt\u202c\u0007'


async def test_what_is_wrong_with_a_fleet_is_first(browser):
    """The fabric that failed is first, with why; of the other the lost node is first, and its integrations are told."""
    async with scripted_console() as bridge, page_of(browser) as page:
        bridge.fleet, bridge.overview = fleet, overview
        await page.goto(bridge.url)
        await page.locator("nav").get_by_role("link", name="Fleet").click()
        await expect(page.locator("#main h1")).to_have_text("Fleet")
        assert await texts_of(page, ".fabric h2") == ["Fabric office ▲ failed", "Fabric plant ● connected"]
        assert await texts_of(page, ".trouble li") == [
            "▲ invalid: another bridge that is alive has the name desk-1 (process 4711)",
            "◆ replicas: desk-2 has 3, not 1",
        ]
        plant = page.get_by_role("region", name="Nodes of fabric plant")
        rows = [" ".join(text.split()) for text in await plant.locator("tbody tr").all_inner_texts()]
        assert rows[0].startswith("desk-3 bridge 0.1.0 ▲ lost 4 min 4 min ago")
        assert "● connected 1 h 35 min this bridge floor ▲ disconnected cluster, erp, mail, orders" in rows[1]
        assert rows[2].endswith("nightly")
        facts = await texts_of(page, ".facts div")
        assert facts[-2:] == ["camera ▲ no node that is connected offers it", "printer offered by desk-2"]
        assert "Nodes 2 of 3 connected" in " ".join(await texts_of(page, ".figure"))


async def test_a_fleet_is_there_only_in_a_fabric(browser):
    """A bridge in no fabric has no such view in its bar, and says so at its address; the key 4 leads there in one."""
    async with scripted_console() as bridge, page_of(browser) as page:
        await page.goto(bridge.url)
        await expect(page.locator(".banner h1")).to_be_visible()
        await expect(page.locator("nav").get_by_role("link", name="Fleet")).to_have_count(0)
        await page.keyboard.press("4")
        await page.goto(f"{bridge.url}#/fleet")
        await expect(page.locator("#main")).to_contain_text("This bridge is in no fabric.")
    async with scripted_console() as bridge, page_of(browser) as page:
        bridge.fleet = fleet
        await page.goto(f"{bridge.url}#/tap")
        await expect(page.locator("nav").get_by_role("link", name="Fleet")).to_be_visible()
        await page.keyboard.press("4")
        await expect(page.locator(".fabric")).to_have_count(2)


def crowded(at: int) -> Fleet:
    """Return two fabrics, one of which has a node with long names wherever a node has some."""
    found = fleet(at, 12)
    plant = found.fabrics["plant"]
    node = msgspec.structs.replace(
        plant.nodes["desk-2"],
        bridge="bridge-of-the-assembly-hall",
        version="0.1.0.dev20260101+g0123456",
        integrations={"x" * 64: "degraded"} | plant.nodes["desk-2"].integrations,
        offers=["programmable_controller_of_line_three", "printer"],
        leases=["nightly_report_of_all_lines_to_the_office", "hourly"],
    )
    nodes = plant.nodes | {"assembly-hall-7-line-3-terminal-0042-spare.plant.example.net": node}
    return Fleet(fabrics=found.fabrics | {"plant": msgspec.structs.replace(plant, nodes=nodes)})


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 600, 1280])
async def test_a_fleet_can_be_read(browser, width, dark):
    """Nothing sticks out of the window or its table, and all text has enough contrast; each heading is one."""
    async with scripted_console() as bridge, page_of(browser, width=width, dark=dark) as page:
        bridge.fleet = crowded
        await page.goto(f"{bridge.url}#/fleet")
        await expect(page.locator(".fabric")).to_have_count(2)
        assert await layout_faults(page) == []
        beyond = "[...document.querySelectorAll('.nodes')].map((one) => one.scrollWidth - one.clientWidth)"
        assert await page.evaluate(beyond) == [0, 0]
        assert await page.get_by_role("rowheader").count() == 15
        assert await page.get_by_role("columnheader").count() == 12
        await expect(page.get_by_text("Integrations of other nodes that this bridge uses")).to_have_count(2)


async def test_a_large_fleet(browser):
    """Hundreds of nodes are a bounded page; a frame in which nothing is new changes nothing of them."""
    async with scripted_console() as bridge, page_of(browser) as page:
        whole = fleet(now_ms(), 1000).fabrics["plant"]
        bridge.fleet = lambda _: Fleet(fabrics={"plant": msgspec.structs.replace(whole, left_out=50)})
        await page.goto(f"{bridge.url}#/fleet")
        await expect(page.locator(".nodes tbody tr")).to_have_count(100)
        assert await text_of(page, ".nodes tbody th") == "desk-1000 bridge 0.1.0"
        await expect(page.locator("#main")).to_contain_text("50 more nodes would not fit here.")
        await page.get_by_role("button", name="Show 200 more of 900 nodes").click()
        await expect(page.locator(".nodes tbody tr")).to_have_count(300)
        assert await page.evaluate("document.querySelectorAll('*').length") < 12_000
        await page.evaluate(
            "window.changes = 0; new MutationObserver((all) => (window.changes += all.length))"
            ".observe(document.querySelector('.nodes'), {subtree: true, childList: true, characterData: true})"
        )
        counts = msgspec.structs.replace(whole.health.counts, exported=77_777)
        fresh = msgspec.structs.replace(whole, health=msgspec.structs.replace(whole.health, counts=counts))
        await bridge.send({"type": "fleet", "at": now_ms(), "data": Fleet(fabrics={"plant": fresh})})
        await expect(page.locator(".fabric .figures")).to_contain_text("77,777")
        assert await page.evaluate("window.changes") < 10


async def test_what_other_nodes_wrote_is_text(browser):
    """Markup in any name of a node adds no element; what cannot be seen is written out."""

    def named(at: int, text: str) -> FabricView:
        plant = fabric(at, warnings=[text])
        node: Any = msgspec.structs.replace(
            plant.nodes["desk-2"],
            bridge=text,
            version=text,
            integrations={text: "failed"},
            offers=[text],
            leases=[text],
        )
        return msgspec.structs.replace(plant, nodes=plant.nodes | {text: node}, uses={text: [text]})

    tags = "[...document.querySelectorAll('#main *')].map((one) => one.localName).sort().join()"
    found = {}
    for text in ("calm", HOSTILE):
        async with scripted_console() as bridge, page_of(browser) as page:
            bridge.fleet = lambda at, text=text: Fleet(fabrics={"plant": named(at, text)})
            await page.goto(f"{bridge.url}#/fleet")
            await expect(page.locator(".nodes tbody tr")).to_have_count(4)
            found[text] = await page.evaluate(tags)
            assert await page.evaluate("window.hacked") is None
            if text is HOSTILE:
                assert "\\u{202e}txt\\u{202c}\\u{7}" in await text_of(page, ".nodes")
    assert found[HOSTILE] == found["calm"]
