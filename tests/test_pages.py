"Every page of the site in a browser, in both schemes, on a wide screen and on a phone, and under axe-core: a file of its own, so that another process takes it."
import os
from collections import defaultdict
from pathlib import Path

import pytest

from test_site import Tab, address, pages_of, phone, root, serving, site, wide # the fixtures too

def axe_file():
    "Where axe-core is, an accessibility checker of the npm registry"
    places = [Path(os.environ[k]) for k in ['AXE'] if k in os.environ] + [root/d/'node_modules/axe-core/axe.min.js' for d in ('.ci', '.')]
    return next((p for p in places if p.is_file()), None)

def axe():
    "Its text; or a skip"
    if not (found := axe_file()): pytest.skip('axe-core is not installed: npm install --prefix .ci axe-core@4')
    return found.read_text(encoding='utf-8')

one_of_each = """() => {
    const seen = new Set(), kind = e => [e.tagName, e.className, e.getAttribute('style')].join()
    for (const block of document.querySelectorAll('.highlight pre')) {
        const copy = block.cloneNode(true), around = []     // what is not in the page is quick to change
        for (let e = block; e; e = e.parentElement) around.push(kind(e))
        for (const e of copy.querySelectorAll('span')) {
            if (e.firstElementChild || e.id) continue
            const kinds = [...around, e.textContent.trim().length > 1]  // axe-core judges no single character
            for (let p = e; p != copy; p = p.parentElement) kinds.push(kind(p))
            if (seen.has(kinds.join('|'))) e.replaceWith(e.textContent)
            seen.add(kinds.join('|'))
        }
        copy.normalize()
        block.replaceChildren(...copy.childNodes)
    }
    dispatchEvent(new Event('resize'))                      // the page looks again for blocks that scroll
}""" # a chapter has ten thousand coloured words of code, in some two hundred combinations of classes

def axe_faults(page):
    "What axe-core, which the page has, calls serious or critical (`preload` is for audio, of which there is none, and for rules that are off)"
    found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false}).then(r => r.violations.map(v => [v.impact, v.id, v.nodes.length, v.nodes[0].html.slice(0, 150)]))")
    return [f for f in found if f[0] in ('serious', 'critical')]

@pytest.fixture(scope='module')
def faults(site, browser, address):
    "What is wrong with each page, by what it was looked at for: one load a page. Words of code that share their classes, and those of all that is around them, axe-core judges once a page"
    script, tab, res = axe_file(), Tab(browser, address), defaultdict(list)
    for name in [*pages_of(site), 'search.html']:
        page = tab.go(name)
        for size in (wide, phone):
            page.set_viewport_size(size)
            for scheme in ('light', 'dark'):
                page.emulate_media(color_scheme=scheme)
                if (n := tab.width()) > 0: res['width'].append(f'{name} at {size["width"]}, {scheme}: {n} pixels outside')
        res['load'] += [f'{name}: {f}' for f in tab.faults]
        tab.faults.clear()
        if script:
            page.evaluate(script.read_text(encoding='utf-8'))
            page.evaluate(one_of_each)
            for scheme, size in (('dark', phone), ('light', wide)):
                page.emulate_media(color_scheme=scheme)
                page.set_viewport_size(size)
                if found := axe_faults(page): res[scheme].append(f'{name}: {found}')
    tab.close()
    return res

def test_every_page_loads(faults): assert not faults['load']
def test_every_page_fits(faults): assert not faults['width']

@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_accessibility(faults, scheme):
    "Light on a wide screen, dark on a phone"
    axe()
    assert not faults[scheme]

def test_a_page_loads_in_the_dark_on_a_phone(site, browser, address):
    "Above it is loaded light and wide; what a script does meanwhile may depend on either"
    script, tab = axe(), Tab(browser, address, color_scheme='dark', viewport=phone)
    for name in ('index.html', 'nbs/06b_storage.html', 'api/storage.html'):
        page = tab.go(name)
        assert tab.width() <= 0 and not tab.faults, name
        page.evaluate(script)
        page.evaluate(one_of_each)
        assert not axe_faults(page), name
    tab.close()

def faults_of(browser, folder, body, **kw):
    (folder/'a.html').write_text(f'<html lang="en"><title>a</title><style>.pale {{ color: #ccc }} @media (prefers-color-scheme: dark) {{ .dim {{ color: #ddd }} }}</style><main><h1>a</h1>{body}</main>')
    with serving(folder) as a:
        tab = Tab(browser, a, **kw)
        page = tab.go('a.html')
        page.evaluate(axe())
        page.evaluate(one_of_each)
        found = {f[1]: f[2] for f in axe_faults(page)}, page.inner_text('main').strip()
        tab.close()
    return found

def test_axe_sees_faults(browser, tmp_path):
    assert {'image-alt', 'color-contrast'} <= {*faults_of(browser, tmp_path, '<img src="data:,"><p style="color:#ccc;background:#fff">pale</p>')[0]}

def test_axe_sees_one_of_each(browser, tmp_path):
    code = '<div class="highlight"><pre>' + '<span class="k">if</span> <span class="{}">xs</span> '*3 + '</pre></div>'
    assert faults_of(browser, tmp_path, code.format('n', 'n', 'n')) == ({}, 'a\nif xs if xs if xs')
    assert faults_of(browser, tmp_path, code.format('n', 'pale', 'pale')) == ({'color-contrast': 1}, 'a\nif xs if xs if xs')
    assert faults_of(browser, tmp_path, code.format('n', 'n', 'n').replace('<pre>', '<pre class="pale">'))[0] == {'color-contrast': 3} # the block, `if` and `xs`
    assert faults_of(browser, tmp_path, code.format('pale', 'pale', 'pale').replace('xs', 'x', 1))[0] == {'color-contrast': 1}
    assert faults_of(browser, tmp_path, code.format('dim', 'n', 'n'))[0] == {}
    assert faults_of(browser, tmp_path, code.format('dim', 'n', 'n'), color_scheme='dark')[0] == {'color-contrast': 1}
