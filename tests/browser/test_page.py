"""The page in a browser: it says nothing on the console, shows its figures, sorts, leads where it says, fits telephone and paper."""

import io
from urllib.parse import unquote

import pytest
from PIL import Image

pytestmark = pytest.mark.browser
WIDTHS, SCHEMES = (1280, 390), ("light", "dark")


def spread(png):
    """Of the greys of a picture: a blank one has none."""
    low, high = Image.open(io.BytesIO(png)).convert("L").getextrema()
    return high - low


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_figure_is_there_and_not_blank(open_page, width, scheme):
    page = open_page(width, scheme)
    figures = page.locator("figure [role=img]")
    assert figures.count() >= 8
    for place in range(figures.count()):
        figure = figures.nth(place)
        assert figure.get_attribute("aria-label")
        box = figure.bounding_box()
        assert box["width"] > 150 and box["height"] > 60
        assert spread(figure.screenshot()) > 100, figure.get_attribute("aria-label")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window_and_the_text_is_readable(open_page, width, scheme):
    page = open_page(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ink, paper = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
    assert contrast(ink, paper) > 7  # WCAG 2.2, 1.4.6


def contrast(first, second):
    """Of two `rgb(...)` (WCAG 2.2)."""

    def luminance(text):
        values = [int(part) / 255 for part in text.removeprefix("rgb(").removesuffix(")").split(",")[:3]]
        red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_a_table_sorts_by_a_column_up_and_down_by_mouse_and_keyboard(open_page):
    page = open_page()
    header = page.get_by_role("button", name="valid").locator("xpath=..")
    table = header.locator("xpath=ancestor::table")
    column = header.evaluate("cell => cell.cellIndex")

    def values():
        texts = table.locator(f"tbody tr > :nth-child({column + 1})").all_text_contents()
        return [float(text) for text in texts if text not in ("", "-")]

    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(values()) and len(set(values())) > 1
    header.locator("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True)


def test_every_link_leads_somewhere(open_page, report):
    page = open_page()
    links = {link.get_attribute("href") for link in page.locator("a").all()}
    assert {"trials.csv", "report.md", "rows.parquet", "summary.parquet"} <= links
    for link in links:
        if link.startswith("#"):
            assert page.locator(f'[id="{link[1:]}"]').count() == 1, link
        else:
            assert (report / unquote(link)).is_file(), link


def test_a_link_to_a_trial_opens_its_section(open_page):
    page = open_page()
    link = page.locator('table a[href^="#trial-"]').first
    section = page.locator(f'[id="{link.get_attribute("href")[1:]}"]')
    assert section.get_attribute("open") is None
    link.click()
    assert section.get_attribute("open") is not None
    assert section.locator("dl").first.is_visible()
    again = open_page(fragment=link.get_attribute("href"))
    assert again.locator("details[open]").count() == 1


def test_a_point_shows_its_values_and_a_click_opens_its_trial(open_page):
    page = open_page()
    assert page.locator("svg a:not([tabindex='-1'])").count() == 0, "one image to a screen reader: the table has the links for the keyboard"
    point = page.locator('svg a[href^="#trial-"] use').first
    text = point.evaluate("point => point.closest('g:has(> title)').querySelector('title').textContent")
    section = page.locator(f'[id="{point.locator("..").get_attribute("href")[1:]}"]')
    assert text.partition(" ")[0] in section.get_attribute("id") and section.get_attribute("open") is None
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert section.get_attribute("open") is not None


def test_it_is_named_structured_and_labelled_for_a_screen_reader(open_page):
    page = open_page()
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1
    assert page.title()
    for region in page.locator("[role=region]").all():
        assert page.locator(f'[id="{region.get_attribute("aria-labelledby")}"]').count() == 1
        assert region.get_attribute("tabindex") == "0", "what scrolls can be scrolled by keyboard"
    assert page.locator("thead th:not([scope=col])").count() == 0


def test_it_prints(open_page):
    page = open_page()
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 50_000
