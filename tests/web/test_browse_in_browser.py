"""The page of errors in a real browser: order, filters, address, keys, overlay, teacher, phone, hostile names."""

from __future__ import annotations

import json

import numpy as np
import pytest

from analysis.browse import browse_page
from analysis.browse.browse_page import BrowseRequest, write_browse_page
from analysis.browse.teacher_verdicts import TeacherVerdicts
from benchmarks.suite.synthetic_dataset import synthetic_coco
from c2d.metrics.box_verdicts import OBJECT_VERDICTS, VERDICTS, judge_boxes
from c2d.metrics.coco_data import prepare
from tests.analysis.browse import small_set
from tests.web import browser as browsers

pytestmark = [
    pytest.mark.web,
    pytest.mark.skipif(bool(browsers.missing()), reason=browsers.missing() or "all is there"),
]
HOSTILE = "</script><img src=x onerror=alert(1)>&\u202e.png"
NAMES = "$$('#tiles .tile .caption b').map(e => e.textContent)"
READY = "document.documentElement.dataset.ready === 'yes'"
SHOWN = "$('#shown').textContent"
FOCUS = "document.activeElement"
RANDOM = synthetic_coco(12, 3, 4, 12)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Two runs with a teacher that always says b; one file with hostile names and no pictures; a random set."""
    folder = tmp_path_factory.mktemp("browse")
    store, data = folder / "runs", small_set.write_card(folder / "data")
    runs = ("net-baseline-0123456789ab-s0", "net-kd-0123456789ab-s0")
    for run, detections in zip(runs, (small_set.A, small_set.B), strict=True):
        small_set.write_run(store, run, detections)

    def always_b(run, teacher, boxes, classes, *rest):
        return TeacherVerdicts("net-classifier", {image: [[1, 900, 0, 100] for _ in rows] for image, rows in boxes})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(browse_page, "teacher_verdicts", always_b)
        patch.setenv("C2D_DATA", str(data))
        write_browse_page(BrowseRequest(runs, store, out=folder / "pair.html", teacher="own"), print)
    names = [HOSTILE, "two.png", "three.png", "four.png"]
    targets, a, _ = small_set.write_files(folder / "set", classes=[HOSTILE, "b"], names=names)
    write_browse_page(BrowseRequest((str(a),), store, targets, folder / "hostile.html"), print)
    for name, value in zip(("gt", "dt"), RANDOM, strict=True):
        (folder / f"{name}.json").write_text(json.dumps(value))
    write_browse_page(
        BrowseRequest((str(folder / "dt.json"),), store, folder / "gt.json", folder / "random.html"), print
    )
    return folder


@pytest.fixture
def pair(browser, pages):
    """The page of two runs; whatever a test did, nothing was asked for and nothing complained."""
    browser.show(pages / "pair.html")
    assert browser.wait(READY)
    yield browser
    assert browser.requests() == []
    assert browser.complaints() == []


def choose(browser, field: str, value: str) -> None:
    browser.ask("[...arguments[0].options].length", browser.driver.find_element("id", field))
    browser.ask(
        f"(() => {{ const e = $('#{field}'); e.value = arguments[0]; e.dispatchEvent(new Event('change')); }})()", value
    )


def test_images_are_in_order_of_the_chosen_measure(pair):
    # B lost an object on one and three, where A found all.
    assert pair.ask(NAMES) == ["one.png", "three.png", "two.png", "four.png"]
    assert pair.ask("$('#tiles .count').textContent") == "B +1.00"
    choose(pair, "sort", "name")
    assert pair.ask(NAMES) == ["four.png", "one.png", "three.png", "two.png"]
    choose(pair, "sort", "flips")
    assert pair.ask("$$('#tiles .count').map(e => e.textContent)") == [
        "1 changed",
        "1 changed",
        "0 changed",
        "0 changed",
    ]
    pair.click("#run-A")
    choose(pair, "sort", "error")
    assert pair.ask(SHOWN) == "4 of 4 images, 0 errors of run A"
    assert pair.wait("$$('#tiles .tile .overlay').length === 4")
    assert pair.ask("$('#tiles img').naturalWidth") == 120


def test_filters_combine_and_the_address_keeps_them(pair, pages):
    pair.ask("(() => { const e = $('#score-B'); e.value = 0.5; e.dispatchEvent(new Event('input')); })()")
    assert pair.wait("$('#count-Cls').textContent === '1'")
    pair.click("#type-Cls")
    choose(pair, "class", "b")
    choose(pair, "size", "medium")
    pair.type("#text", "ONE")
    assert pair.wait("$('#shown').textContent === '1 of 4 images, 1 errors of run B'")
    assert pair.ask("$('#filter-count').textContent") == "5 active"
    address = pair.ask("location.hash")
    assert address == "#class=b&size=medium&type=Cls&text=ONE&scoreB=0.5"
    pair.ask("(location.hash = '', 1)")
    assert pair.wait("$$('#tiles .tile').length === 4")
    pair.ask("(location.hash = arguments[0], 1)", address)
    assert pair.wait("$$('#tiles .tile').length === 1")
    assert pair.ask("[$('#class').value, $('#size').value, $('#text').value, $('#score-B').value]") == [
        "b",
        "medium",
        "ONE",
        "0.5",
    ]
    assert pair.ask("$('#type-Cls').getAttribute('aria-pressed')") == "true"
    choose(pair, "size", "large")
    assert pair.ask("$('#nothing').hidden") is False
    pair.click("#reset-here")
    assert pair.ask("[location.hash, $$('#tiles .tile').length]") == ["", 4]


def test_nonsense_in_the_address_is_ignored(pair):
    pair.ask("(location.hash = '#sort=x&class=__proto__&type=Cls,y&scoreA=-3&scoreB=NaN&image=99&run=C&box=o9', 1)")
    assert pair.wait("$('#type-Cls').getAttribute('aria-pressed') === 'true'")
    assert pair.ask("[Browse.state.sort, Browse.state.cls, Browse.state.scores, $('#detail').open]") == [
        "worse", "", [0.61, 0.51], False,
    ]  # fmt: skip


def test_every_score_gives_what_an_evaluation_at_that_score_gives(browser, pages):
    """Types of errors, and the error of each image, by the scripts of the page and by Python."""
    browser.show(pages / "random.html")
    assert browser.wait(READY)
    data = prepare(*RANDOM)
    for score in (0.05, 0.3, 0.55, 0.8):
        found = judge_boxes(data, min_score=score)
        kinds = [VERDICTS[kind] for kind in found.verdict]
        counts = {kind: kinds.count(kind) for kind in (*VERDICTS[:5], "correct")}
        objects = [OBJECT_VERDICTS[kind] for kind in found.gt_verdict]
        counts["Miss"] = objects.count("Miss")
        error = np.zeros(len(data.image_ids))
        for image, kind, value in zip(data.dt_image, kinds, data.dt_score, strict=True):
            error[image] += value if kind in VERDICTS[:5] else 0
        for image, kind in zip(data.gt_image, objects, strict=True):
            error[image] += kind in ("Miss", "Cls", "Loc")
        assert browser.ask("(Browse.state.scores[0] = arguments[0], Browse.typeCounts())", score) == counts
        theirs = browser.ask("Browse.shownImages().map(({image, m}) => [image.id, m[0].error])")
        ours = dict(zip(data.image_ids, error, strict=True))
        assert [value for _, value in theirs] == pytest.approx([ours[image] for image, _ in theirs], abs=0.02)
        assert len(theirs) == len(ours)
    assert browser.complaints() == []


def test_boxes_are_shown_one_by_one_with_their_crop(pair):
    pair.click("#view-boxes")
    assert pair.ask(SHOWN) == "2 boxes in 2 images of run B"  # missed; at 0.51 the Cls error is below the score
    pair.ask("(location.hash = '#view=boxes&scoreB=0.05&type=Cls', 1)")
    assert pair.wait("$('#tiles .classes')?.textContent === 'a on b'")
    assert pair.wait("$$('#tiles canvas').length === 1")
    pixel = "[...$('#tiles canvas').getContext('2d').getImageData(132, 132, 1, 1).data]"
    assert pair.wait(f"{pixel}[2] === 200 || {pixel}[2] > 190")  # the picture's own colour in the middle of the box
    assert pair.ask("$('#tiles .teacher').textContent") == "teacher: b 90% \u2713"
    pair.click("#tiles .tile")
    assert pair.ask("[Browse.state.image, Browse.state.box, $('#detail').open]") == ["1", "B1", True]
    assert "wrong class" in pair.ask("$('#chosen').textContent")


def test_the_filter_of_the_teacher(pair):
    pair.ask("(location.hash = '#scoreB=0.05&teacher=right', 1)")
    # The teacher says b: of the crop of the Cls error on object 2, and of object 4, which B misses.
    assert pair.wait("$('#shown').textContent === '2 of 4 images, 2 errors of run B'")
    assert pair.ask("[$('#count-Cls').textContent, $('#count-Miss').textContent]") == ["1", "1"]
    choose(pair, "teacher", "wrong")
    assert pair.ask(SHOWN) == "0 of 4 images, 0 errors of run B"


def test_confusions_and_objects_of_one_run_alone(pair):
    pair.ask("(location.hash = '#scoreB=0.05', 1)")
    assert pair.wait("$('#confusion').options.length === 2")
    assert pair.ask("$('#confusion').options[1].textContent") == "a for b: 1"
    choose(pair, "confusion", "0-1")
    assert pair.ask(NAMES) == ["one.png"]
    choose(pair, "confusion", "")
    choose(pair, "change", "A")  # object 2, which B takes for an a, and object 4, which it misses
    assert pair.ask(SHOWN) == "2 of 4 images, 2 errors of run B"
    pair.click("#view-boxes")
    assert pair.ask("$$('#tiles .classes').map(e => e.textContent)") == ["a on b", "b"]
    pair.click("#tiles .tile")
    said = pair.ask("[...$('#chosen').querySelectorAll('dt, dd')].map(e => e.textContent)")
    assert said[said.index("object in A") + 1] == "found b 0.80"
    pair.press("ESCAPE")
    choose(pair, "change", "B")
    assert pair.ask("$('#nothing').hidden") is False


def test_works_by_keyboard_alone(pair):
    pair.press("TAB")
    assert pair.ask(f"{FOCUS}.className") == "skip"
    pair.press("ENTER")
    assert pair.ask(f"[{FOCUS}.id, location.hash]") == ["content", ""]
    type_keys(pair, "j")
    pair.press("ARROW_RIGHT")
    assert pair.ask(f"{FOCUS}.dataset.image") == "3"
    type_keys(pair, "k")
    assert pair.ask(f"{FOCUS}.dataset.image") == "1"
    pair.press("ENTER")
    title = "$('#detail-title').textContent"
    assert pair.ask(f"[$('#detail').open, {title}]") == [True, "one.png"]
    type_keys(pair, "1")
    assert pair.ask("$$('#detail table.boxes tbody tr').length") == 2  # both correct, the Loc error is below 0.61
    type_keys(pair, "b")
    assert pair.ask("$$('#detail .picture.large').length") == 2
    type_keys(pair, "2")
    assert pair.ask("$('#picture-A') === null && $('#picture-B') !== null")
    pair.press("ARROW_DOWN")
    assert pair.ask("$('#detail tr.on').dataset.key") == "o1"  # what is missed comes first
    type_keys(pair, "g")
    assert pair.ask("[$$('#detail .overlay .k-found').length, Browse.state.off.has('objects')]") == [0, True]
    type_keys(pair, "z")
    assert pair.ask("$('.picture.large').clientWidth > 1.9 * $('.pictures figure').clientWidth")
    type_keys(pair, "zgj")
    assert pair.ask(title) == "three.png"
    assert pair.ask("location.hash") == "#image=3"
    assert pair.ask("$('#detail').contains(document.activeElement)")
    pair.press("ESCAPE")
    assert pair.ask(f"[$('#detail').open, {FOCUS}.dataset.image, location.hash]") == [False, "3", ""]
    type_keys(pair, "?")
    assert pair.ask("$('#keys').open")
    pair.press("ESCAPE")
    type_keys(pair, "/")
    assert pair.ask(f"{FOCUS}.id") == "text"
    type_keys(pair, "kb2")
    assert pair.ask("$('#text').value") == "kb2"  # letters in the field are letters


def type_keys(browser, text: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser.driver).send_keys(text).perform()


def test_the_pointer_shows_what_a_box_is(pair):
    from selenium.webdriver.common.action_chains import ActionChains

    pair.ask("(location.hash = '#image=1&scoreB=0.05', 1)")
    assert pair.wait("$('#detail').open")
    box = pair.driver.find_element("css selector", "#picture-B [data-key=B1] .line")
    ActionChains(pair.driver).move_to_element(box).perform()
    assert pair.wait("!$('#tip').hidden")
    said = pair.ask("[...$('#tip').children].map(e => e.textContent)")
    assert said[:5] == ["verdict wrong class", "class a", "score 0.500", "object b", "IoU 1.00"]
    assert said[-1] == "teacher b 90%, a 10%"
    box.click()
    assert pair.ask("[Browse.state.box, $('tr.on').dataset.key]") == ["B1", "B1"]
    assert pair.ask("$$('#chosen .said li').map(e => e.className)") == ["truth", ""]


def test_verdicts_differ_by_more_than_colour(pair):
    pair.click("#help")
    looks = pair.ask(
        "$$('#keys .legend .line').map(e => { const s = getComputedStyle(e); "
        "return [e.parentElement.getAttribute('class').split('k-')[1], s.stroke, s.strokeDasharray + s.strokeWidth]; })"
    )
    assert len({name for name, _, _ in looks}) == 10
    assert len({(colour, dash) for _, colour, dash in looks}) == 10
    errors = {name: dash for name, _, dash in looks if name in ("Loc", "Both", "Dupe", "Bkg", "Miss", "lost", "found")}
    assert len(set(errors.values())) == len(errors)


def test_every_control_has_a_name(pair):
    pair.click("#tiles .tile")
    assert pair.ask("$$('button').filter(b => !(b.ariaLabel || b.textContent).trim()).length") == 0
    assert pair.ask("$$('select, input').filter(e => !e.labels.length).length") == 0
    assert "1 correct" in pair.ask("$('#tiles .tile').getAttribute('aria-label')")
    assert pair.ask("$('#shown').getAttribute('role')") == "status"


@pytest.mark.parametrize("dark", [False, True])
def test_fits_a_phone_in_both_looks(browser, pages, dark):
    browser.show(pages / "pair.html", 390, 844, dark=dark)
    assert browser.wait(READY)
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == (
        "rgb(20, 22, 26)" if dark else "rgb(251, 251, 250)"
    )
    assert browser.ask("document.documentElement.scrollWidth") <= 390
    assert browser.ask("$('#filters').open") is False
    browser.click("#filters summary")
    assert browser.ask("$$('#filters button, #filters select').every(e => e.getBoundingClientRect().right <= 390)")
    browser.click("#tiles .tile")
    assert browser.ask("$('#detail').scrollWidth <= $('#detail').clientWidth + 1")
    browser.click("#show-both")
    left = browser.ask("$$('.picture.large').map(e => e.getBoundingClientRect()).map(r => [r.left, r.right])")
    assert len(left) == 2
    assert all(a >= 0 and b <= 390 for a, b in left)
    assert browser.complaints() == []


def test_hostile_names_do_nothing(browser, pages):
    browser.show(pages / "hostile.html")
    assert browser.wait(READY)
    browser.ask("(location.hash = '#image=1&scoreA=0.05', 1)")
    assert browser.wait("$('#detail').open")
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert browser.ask("$('#detail-title').textContent") == shown
    assert browser.ask("$('#class').options[1].value") == shown
    assert browser.ask("$$('img').length") == 0
    assert "the folder of the images is not known" in browser.ask("$('.no-picture').textContent")
    assert browser.ask("$$('#detail .overlay .line').length") == 2 + 3
    assert browser.complaints() == []
    assert browser.requests() == []


def test_every_tile_is_on_paper(browser, pages):
    """Tiles far from the window are not drawn on a screen; paper has all of them."""
    browser.show(pages / "random.html", width=360, height=200)
    assert browser.wait(READY)
    empty = "$$('#tiles .picture').filter(e => !e.childElementCount).length"
    assert browser.wait(f"{empty} < 12")
    before = browser.ask(empty)
    assert before > 0
    browser.ask("dispatchEvent(new Event('beforeprint'))")
    assert browser.ask(empty) == 0
    browser.ask("dispatchEvent(new Event('afterprint'))")
    assert browser.wait(f"{empty} === {before}")


def test_says_so_without_scripts(browser, pages):
    browser.show(pages / "pair.html", script=False)
    try:
        said = browser.ask("document.body.innerText")
        assert "need its own scripts" in said
        assert "net-kd-0123456789ab-s0" in said
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)
