"""The page in a real browser, at both sizes: the whole tour, and what must never be on it."""

import re

import pytest
from playwright.sync_api import Page, expect

from amocrm_userauth.demo._phone import Phone
from tests.demo.watch import SECRET

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def log_in(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()
    expect(page.get_by_role("heading", name="Integrations")).to_be_visible()


def consent(page: Page, user: str, decision: str = "Allow") -> None:
    page.get_by_label("User of amoCRM").fill(user)
    page.get_by_role("button", name=decision).click()


def connect(page: Page, user: str, button: str = "Connect amoCRM") -> None:
    page.get_by_role("button", name=button).click()
    consent(page, user)
    expect(page.locator("#badge")).to_have_text("Connected")
    expect(page.locator("#leads li")).to_have_count(2)


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()


def says(page: Page, text: str) -> None:
    expect(page.locator("#outcome")).to_contain_text(text)


def fits(page: Page) -> None:
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, "the page scrolls sideways"


@pytest.fixture
def connected(pages):
    """Maria's page, connected."""
    page = pages.open()
    log_in(page, "Maria Petrova")
    connect(page, "maria")
    return page


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_whole_tour(pages, demo, size):
    """A user connects, survives a day, twenty tabs and an outage, is revoked, connects again and disconnects."""
    page = pages.open(**size)
    log_in(page, "Maria Petrova")
    expect(page.locator("#badge")).to_have_text("Not connected")
    fits(page)
    connect(page, "maria")
    assert page.url == demo.url
    fits(page)
    press(page, "Let a day pass")
    says(page, "1 refresh, and the leads came")
    press(page, "Ask from 20 tabs at once")
    says(page, "20 answers, 1 refresh, 1 token")
    expect(page.locator("#log")).to_contain_text("GET /api/token-fingerprint → 200 × 20")
    press(page, "Take amoCRM down")
    says(page, "amoCRM is down")
    expect(page.locator("#notice-text")).to_have_text("amoCRM does not answer right now. You stay connected.")
    expect(page.locator("#badge")).to_have_text("Connected")
    fits(page)
    press(page, "Bring amoCRM back")
    says(page, "Nothing was lost")
    expect(page.locator("#notice")).to_be_hidden()
    press(page, "Revoke the grant")
    says(page, "nobody else, to connect again")
    expect(page.locator("#badge")).to_have_text("Connect again")
    expect(page.locator("#row")).to_contain_text("revoked")
    fits(page)
    connect(page, "maria", "Connect again")
    press(page, "Disconnect")
    page.locator("#confirm-yes").click()
    expect(page.locator("#badge")).to_have_text("Not connected")
    expect(page.locator("#row-empty")).to_be_visible()
    fits(page)


def test_two_users_at_once(pages, demo):
    """Two browsers, two users: each sees their own account's leads and row, and one's loss is not the other's."""
    maria, ivan = pages.open(), pages.open()
    log_in(maria, "Maria Petrova")
    log_in(ivan, "Ivan Sokolov")
    connect(maria, "maria")
    connect(ivan, "ivan")
    expect(maria.locator("#leads")).to_contain_text("of maria")
    expect(ivan.locator("#leads")).to_contain_text("of ivan")
    expect(ivan.locator("#row")).to_contain_text(str(demo.fake.user_id("ivan")))
    press(maria, "Revoke the grant")
    expect(maria.locator("#badge")).to_have_text("Connect again")
    press(ivan, "Reload")
    expect(ivan.locator("#badge")).to_have_text("Connected")
    expect(ivan.locator("#leads li")).to_have_count(2)


def test_deny(pages, demo):
    """Who denies on amoCRM's page comes back, is told so, and nothing is stored or spent."""
    page = pages.open()
    log_in(page, "Ivan Sokolov")
    press(page, "Connect amoCRM")
    consent(page, "ivan", "Deny")
    expect(page.locator("#notice-text")).to_contain_text("did not allow")
    expect(page.locator("#badge")).to_have_text("Not connected")
    assert page.url == demo.url
    assert demo.fake.token_calls() == 0


def test_a_foreign_link_connects_nobody(pages, demo):
    """A link with somebody else's code is refused, also to a user who logs in only then."""
    with Phone(demo.url) as maria:
        brought = maria.log_in("maria").consent(user="maria")
    page = pages.open(path="phone?" + "&".join(f"{name}={value}" for name, value in brought.items()))
    assert page.url == demo.url
    expect(page.locator("#login-notice")).to_be_visible()
    log_in(page, "Ivan Sokolov")
    expect(page.locator("#notice-text")).to_contain_text("was not connected")
    expect(page.locator("#badge")).to_have_text("Not connected")
    assert demo.fake.token_calls() == 0


def test_an_outage_with_an_expired_token(connected, demo):
    """With amoCRM down and the token expired the app counts down, asks again, and has lost nothing."""
    press(connected, "Take amoCRM down")
    says(connected, "amoCRM is down")
    press(connected, "Let a day pass")
    says(connected, "the connection survives")
    press(connected, "Ask from 20 tabs at once")
    says(connected, "told so, calmly")
    expect(connected.locator("#badge")).to_have_text("Connected")
    press(connected, "Bring amoCRM back")
    says(connected, "amoCRM is back")
    demo.fake.advance(60)
    press(connected, "Reload")
    expect(connected.locator("#notice")).to_be_hidden()
    expect(connected.locator("#leads li")).to_have_count(2)


def test_what_comes_from_amocrm_is_text(pages):
    """Markup in names at amoCRM is shown, not obeyed."""
    evil = "<img src=x onerror=document.title='broken'><b>Bob"
    page = pages.open()
    log_in(page, "Maria Petrova")
    connect(page, evil)
    expect(page.locator("#leads")).to_contain_text("<img src=x onerror=")
    expect(page.locator("#log")).to_contain_text("<img src=x onerror=")
    assert page.locator("main img").count() == 0
    assert page.title() == "amocrm_userauth demo"


def test_nothing_secret_crosses_the_page(pages, demo):
    """Neither answers to the page nor the page itself hold a token; the code appears in the app's link alone."""
    page, answers = pages.open(), []
    log_in(page, "Maria Petrova")
    connect(page, "maria")
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108 - Playwright wants a function
    press(page, "Let a day pass")
    says(page, "1 refresh")
    press(page, "Reload")
    press(page, "Ask from 20 tabs at once")
    says(page, "1 refresh, 1 token")
    assert len(answers) > 5
    assert not [answer.url for answer in answers if SECRET.search(answer.url + answer.text())]
    for _ in range(2):
        page.go_back()
        assert "code=" not in page.url
    expect(page.locator("#badge")).to_have_text("Connected")


def test_keyboard_alone(pages):
    """Everything can be done with the keyboard, and the focus is where the screen changed."""
    page = pages.open()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Maria Petrova")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Integrations")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Connect amoCRM")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_label("Account").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#badge")).to_have_text("Connected")
    page.locator("#disconnect").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#confirm-no")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#confirm")).to_be_hidden()
    expect(page.locator("#badge")).to_have_text("Connected")


def test_coming_back_from_the_consent_page(pages):
    """The browser's own way back from amoCRM's page leaves a usable app."""
    page = pages.open()
    log_in(page, "Maria Petrova")
    press(page, "Connect amoCRM")
    expect(page.get_by_role("button", name="Allow")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("button", name="Connect amoCRM")).to_be_visible()


def test_reload_and_log_out(connected, demo):
    """A reload keeps the session and shows the connection; logging out shows nothing of it."""
    connected.reload()
    expect(connected.locator("#badge")).to_have_text("Connected")
    press(connected, "Log out")
    expect(connected.get_by_role("heading", name="Log in")).to_be_focused()
    expect(connected.locator("#row-empty")).to_be_visible()
    expect(connected.get_by_role("button", name="Let a day pass")).to_be_disabled()
    assert "example.amocrm.ru" not in connected.locator(".phone").inner_text()


def test_everything_has_a_name_and_is_readable(connected):
    """Every control has an accessible name, and text has the contrast that WCAG AA asks for."""
    for control in connected.locator("button:visible, a:visible, input:visible").all():
        assert control.evaluate("e => (e.ariaLabel || e.textContent).trim()")
    assert connected.locator("html").get_attribute("lang") == "en"
    poor = connected.evaluate(_CONTRAST)
    assert poor == []


def test_stopping_the_demo_is_said(pages, demo):
    """When the demo has stopped, its page says so instead of going on silently."""
    page = pages.open()
    log_in(page, "Maria Petrova")
    demo.__exit__(None, None, None)
    says(page, "not running any more")
    pages.complaints[:] = [text for text in pages.complaints if not re.search("ERR_CONNECTION", text)]


_CONTRAST = """() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const part = (v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
    return .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = numbers(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] > .9) return color;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.disabled) continue;
    const [a, b] = [light(numbers(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) poor.push(element.outerHTML.slice(0, 80));
  }
  return poor;
}"""
